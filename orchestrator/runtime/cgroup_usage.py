"""A container's processes and what they have used, read from its control group's files: cheap, and exact at any
moment."""

from __future__ import annotations

from pathlib import Path

from orchestrator.domain.telemetry import Usage

MOUNT = Path("/sys/fs/cgroup")
USED = ("", "cpuacct", "memory")


def usage(pid: int, container: str, *, proc: Path = Path("/proc"), mount: Path = MOUNT) -> Usage | None:
    """Of the control group that a container's process lives in; None when it cannot be read from here, as
    when the daemon counts processes in a namespace of its own, so that the group is not the container's.

    Memory is what a process's resident set counts too, so that both runtimes mean the same: anonymous
    memory and mapped files, without the rest of the page cache.
    """
    try:
        groups = _groups((proc / str(pid) / "cgroup").read_text())
        if not all(container in path for name, path in groups.items() if name in USED):
            return None
        return _second(mount, groups[""]) if not groups.keys() - {""} else _first(mount, groups)
    except (OSError, KeyError, ValueError):
        return None


def pids(
    pid: int, container: str, *, proc: Path = Path("/proc"), mount: Path = MOUNT
) -> frozenset[int] | None:
    """All processes of the container, those of groups within its own too; None when they cannot be read."""
    try:
        groups = _groups((proc / str(pid) / "cgroup").read_text())
        name = "cpuacct" if groups.keys() - {""} else ""
        if container not in groups[name]:
            return None
        folder = mount / name / groups[name]
        listed = [path.read_text().split() for path in folder.rglob("cgroup.procs")]
        return frozenset(int(number) for numbers in listed for number in numbers)
    except (OSError, KeyError, ValueError):
        return None


def _groups(text: str) -> dict[str, str]:
    """Controller -> path; the unified hierarchy of version 2 stands under the empty name."""
    found = {}
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        found.update({name: path.lstrip("/") for name in controllers.split(",")})
    if any(name in found for name in ("cpuacct", "memory")):
        found.pop("", None)
    return found


def _second(mount: Path, path: str) -> Usage:
    folder = mount / path
    cpu_us = _field(folder / "cpu.stat", "usage_usec")
    memory_bytes = sum(_field(folder / "memory.stat", name) for name in ("anon", "file_mapped"))
    return Usage(cpu_us / 1e6, memory_bytes, _count(folder / "cgroup.procs"))


def _first(mount: Path, groups: dict[str, str]) -> Usage:
    memory = mount / "memory" / groups["memory"]
    cpu = mount / "cpuacct" / groups["cpuacct"]
    cpu_ns = int((cpu / "cpuacct.usage").read_text())
    memory_bytes = sum(_field(memory / "memory.stat", f"total_{name}") for name in ("rss", "mapped_file"))
    return Usage(cpu_ns / 1e9, memory_bytes, _count(cpu / "cgroup.procs"))


def _field(path: Path, name: str) -> int:
    pairs = dict(line.split() for line in path.read_text().splitlines() if len(line.split()) == 2)  # noqa: PLR2004
    return int(pairs[name])


def _count(path: Path) -> int:
    return len(path.read_text().split())
