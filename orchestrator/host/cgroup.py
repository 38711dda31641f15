"""What this process's control group leaves it of the machine, under both versions of cgroups."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath


def cpu_quota(root: Path = Path("/")) -> float | None:
    """CPUs' worth of time that may be used, or None without a limit."""
    return min((*_quotas_v2(root), *_quotas_v1(root)), default=None)


def memory_limit_bytes(root: Path = Path("/")) -> int | None:
    """Memory that may be used, or None without a limit."""
    texts = (*_texts(root, "", "memory.max"), *_texts(root, "memory", "memory.limit_in_bytes"))
    # "max" is version 2's word for no limit; version 1 writes a number near 2**63 (and so no memory).
    limits = [int(text) for text in texts if text.isdigit()]
    return min((limit for limit in limits if limit < 2**60), default=None)


def _quotas_v2(root: Path) -> Iterator[float]:
    for text in _texts(root, "", "cpu.max"):
        quota, period = text.split()
        if quota != "max":
            yield int(quota) / int(period)


def _quotas_v1(root: Path) -> Iterator[float]:
    quotas = _texts(root, "cpu", "cpu.cfs_quota_us")
    periods = _texts(root, "cpu", "cpu.cfs_period_us")
    for quota, period in zip(quotas, periods, strict=True):
        if int(quota) > 0:
            yield int(quota) / int(period)


def _texts(root: Path, controller: str, file: str) -> Iterator[str]:
    """A file's text in our group and in all groups above it. Version 2 has no controller in its name."""
    paths = (folder / file for folder in _folders(root, controller))
    return (text for path in paths if (text := _text(path)))


def _text(path: Path) -> str:
    """Empty where there is no such file: the root group has no limits, a container may hide the others."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _folders(root: Path, controller: str) -> Iterator[Path]:
    """The folders of our group and its ancestors. In a container the path may be the host's, of which
    only the last part, mounted as the root, is visible: the root is always looked at."""
    group = _group(root, controller)
    mounts = [root / "sys/fs/cgroup" / controller] if controller else [root / "sys/fs/cgroup"]
    if not controller:
        mounts.append(root / "sys/fs/cgroup/unified")
    for mount in mounts:
        for ancestor in (group, *group.parents):
            yield mount / ancestor.relative_to("/")


def _group(root: Path, controller: str) -> PurePosixPath:
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            return PurePosixPath(path)
    return PurePosixPath("/")
