"""orchestrator/runtime/cgroup_usage.py over made /proc and /sys/fs/cgroup trees of both versions."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.domain.telemetry import Usage
from orchestrator.runtime import cgroup_usage

ID = "0123456789abcdef"
SECOND = f"0::/system.slice/docker-{ID}.scope\n"
FIRST = f"""\
12:name=systemd:/docker/{ID}
5:cpu,cpuacct:/docker/{ID}
4:memory:/docker/{ID}
0::/system.slice/containerd.service
"""


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def second(root: Path, **changes: str) -> None:
    group = f"mount/system.slice/docker-{ID}.scope"
    write(
        root,
        {
            "proc/7/cgroup": SECOND,
            f"{group}/cpu.stat": "usage_usec 2500000\nuser_usec 2000000\n",
            f"{group}/memory.stat": "anon 1000\nfile 900000\nfile_mapped 24\n",
            f"{group}/cgroup.procs": "7\n8\n9\n",
            **changes,
        },
    )


def first(root: Path) -> None:
    write(
        root,
        {
            "proc/7/cgroup": FIRST,
            f"mount/cpuacct/docker/{ID}/cpuacct.usage": "1500000000\n",
            f"mount/cpuacct/docker/{ID}/cgroup.procs": "7\n",
            f"mount/memory/docker/{ID}/memory.stat": (
                "cache 900000\nrss 1\nmapped_file 1\ntotal_rss 2000\ntotal_mapped_file 48\n"
            ),
        },
    )


def read(root: Path, pid: int = 7, container: str = ID) -> Usage | None:
    return cgroup_usage.usage(pid, container, proc=root / "proc", mount=root / "mount")


def test_version_2(tmp_path: Path) -> None:
    """Microseconds of CPU; anonymous and mapped memory without the rest of the page cache."""
    second(tmp_path)

    assert Usage(cpu_s=2.5, memory_bytes=1024, processes=3) == read(tmp_path)


def test_version_1(tmp_path: Path) -> None:
    """Nanoseconds of CPU; the totals, which hold the groups below too; the unified line does not count."""
    first(tmp_path)

    assert Usage(cpu_s=1.5, memory_bytes=2048, processes=1) == read(tmp_path)


def pids(root: Path, container: str = ID) -> frozenset[int] | None:
    return cgroup_usage.pids(7, container, proc=root / "proc", mount=root / "mount")


def test_processes_are_those_of_the_groups_below_too(tmp_path: Path) -> None:
    """An engine that runs an init of its own may make groups; another container's, or none, are not told."""
    second(tmp_path)
    write(tmp_path, {f"mount/system.slice/docker-{ID}.scope/inner/cgroup.procs": "11\n"})

    assert frozenset({7, 8, 9, 11}) == pids(tmp_path)
    assert None is pids(tmp_path, "fedcba9876543210")
    assert None is pids(tmp_path / "nowhere")


def test_processes_of_version_1(tmp_path: Path) -> None:
    """By the group that counts CPU time."""
    first(tmp_path)

    assert frozenset({7}) == pids(tmp_path)


def test_a_process_that_has_gone(tmp_path: Path) -> None:
    """No figures of what is no more."""
    second(tmp_path)

    assert read(tmp_path, pid=8) is None


@pytest.mark.parametrize("tree", [first, second])
def test_a_number_that_means_another_process_here(tmp_path: Path, tree: object) -> None:
    """A daemon in a virtual machine counts by itself: that process's figures are not the container's."""
    assert callable(tree)
    tree(tmp_path)

    assert read(tmp_path, container="fedcba9876543210") is None


@pytest.mark.parametrize("text", ["", "nonsense\n", "usage_usec many\n"])
def test_files_that_say_nothing(tmp_path: Path, text: str) -> None:
    """A kernel without a controller gives no usage instead of an error in the middle of a load."""
    second(tmp_path, **{f"mount/system.slice/docker-{ID}.scope/cpu.stat": text})

    assert read(tmp_path) is None


def test_a_group_list_that_is_none(tmp_path: Path) -> None:
    """/proc/PID/cgroup is empty without control groups, and its lines may be of no known form."""
    for text in ("", "what\n"):
        write(tmp_path, {"proc/7/cgroup": text})
        assert read(tmp_path) is None
