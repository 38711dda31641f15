"""orchestrator/host/facts.py and cgroup.py: this machine, and others made of files."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import psutil
import pytest

from backends.contract import Accelerator, HostTraits
from orchestrator.domain.provenance import Gpu, Host
from orchestrator.host import cgroup, facts
from tests.fakes.nvml import Stub


def tree(root: Path, **files: str) -> Path:
    """A root folder with files whose names have slashes written as double underscores."""
    for name, text in files.items():
        path = root / name.replace("__", "/").replace("_DOT_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def machine(**changes: object) -> Host:
    facts_of = {"os": "Debian", "kernel": "6.1", "machine": "x86_64", "cpu": "CPU", "cpus": 8}
    return Host.model_validate({**facts_of, "memory_bytes": 2**34, "python": "3.11.7", **changes})


def gpu(memory_bytes: int = 2**36) -> Gpu:
    return Gpu(uuid="GPU-1", name="A100", memory_bytes=memory_bytes, driver="535", compute_capability=(8, 0))


def test_this_machine_is_described() -> None:
    """Every field is a plausible fact of the machine on which the test runs."""
    host = facts.host()

    assert host.kernel == platform.release()
    assert 1 <= host.cpus <= (os.cpu_count() or 1)
    assert 0 < host.memory_bytes <= psutil.virtual_memory().total
    assert host.python == platform.python_version()
    assert host.cpu
    assert host.os


def test_the_host_name_is_not_told() -> None:
    """A result can be handed on without naming the machine."""
    assert platform.node() not in facts.host().model_dump_json().split('"')


def test_gpus_belong_to_the_machine(nvml_stub: Stub) -> None:
    """GPUs are listed as NVML describes them."""
    nvml_stub.script("gpus * 2")

    assert [g.uuid for g in facts.host().gpus] == ["GPU-stub-0", "GPU-stub-1"]


def test_a_system_without_a_name_is_told_by_its_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """No os-release file is no obstacle."""

    def absent() -> dict[str, str]:
        raise OSError

    monkeypatch.setattr(platform, "freedesktop_os_release", absent)

    assert facts.host().os == platform.system()


@pytest.mark.parametrize(
    ("cpuinfo", "expected"),
    [
        ("processor\t: 0\nmodel name\t: Fast CPU @ 3 GHz\n\nprocessor\t: 1\n", "Fast CPU @ 3 GHz"),
        (
            "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd0c\n",
            f"{platform.machine()} 0x41 0xd0c",
        ),
        ("", platform.machine()),
    ],
)
def test_the_cpu_is_named_as_well_as_it_can_be(tmp_path: Path, cpuinfo: str, expected: str) -> None:
    """Arm has part numbers in place of a name."""
    assert facts.host(tree(tmp_path, proc__cpuinfo=cpuinfo)).cpu == expected


def test_a_machine_without_cpuinfo_is_told_by_its_architecture(tmp_path: Path) -> None:
    """An unreadable file is no obstacle."""
    assert facts.host(tmp_path).cpu == platform.machine()


def test_no_control_group_is_no_limit(tmp_path: Path) -> None:
    """Where nothing limits us, all CPUs and all memory are ours."""
    assert cgroup.cpu_quota(tmp_path) is None
    assert cgroup.memory_limit_bytes(tmp_path) is None
    assert facts.usable_cpus(tmp_path) == len(os.sched_getaffinity(0))


def test_the_second_version_of_control_groups_is_read(tmp_path: Path) -> None:
    """The smallest limit on the way up to the root counts."""
    tree(
        tmp_path,
        proc__self__cgroup="0::/outer/inner\n",
        sys__fs__cgroup__outer__inner__cpu_DOT_max="max 100000\n",
        sys__fs__cgroup__outer__cpu_DOT_max="150000 100000\n",
        sys__fs__cgroup__outer__inner__memory_DOT_max="1073741824\n",
        sys__fs__cgroup__outer__memory_DOT_max="max\n",
    )

    assert cgroup.cpu_quota(tmp_path) == 1.5
    assert cgroup.memory_limit_bytes(tmp_path) == 2**30
    assert facts.usable_memory_bytes(tmp_path) == 2**30


def test_the_first_version_of_control_groups_is_read(tmp_path: Path) -> None:
    """Each controller has its own tree, and -1 or a number near 2**63 is no limit."""
    tree(
        tmp_path,
        proc__self__cgroup="5:cpuacct,cpu:/docker/abc\n4:memory:/docker/abc\n0::/\n",
        sys__fs__cgroup__cpu__cpu_DOT_cfs_quota_us="-1\n",
        sys__fs__cgroup__cpu__cpu_DOT_cfs_period_us="100000\n",
        sys__fs__cgroup__cpu__docker__abc__cpu_DOT_cfs_quota_us="50000\n",
        sys__fs__cgroup__cpu__docker__abc__cpu_DOT_cfs_period_us="100000\n",
        sys__fs__cgroup__memory__memory_DOT_limit_in_bytes="9223372036854771712\n",
        sys__fs__cgroup__memory__docker__abc__memory_DOT_limit_in_bytes="2147483648\n",
    )

    assert cgroup.cpu_quota(tmp_path) == 0.5
    assert cgroup.memory_limit_bytes(tmp_path) == 2**31


def test_a_container_sees_its_own_limits_at_the_root(tmp_path: Path) -> None:
    """Inside a container the path is the host's, and our group is mounted as the root."""
    tree(
        tmp_path,
        proc__self__cgroup="4:memory:/docker/abc\n",
        sys__fs__cgroup__memory__memory_DOT_limit_in_bytes="1048576\n",
    )

    assert cgroup.memory_limit_bytes(tmp_path) == 2**20


def test_a_part_of_a_cpu_is_one(tmp_path: Path) -> None:
    """Quotas are rounded down to whole CPUs, but never to none."""
    tree(tmp_path, proc__self__cgroup="0::/\n", sys__fs__cgroup__cpu_DOT_max="50000 100000\n")

    assert facts.usable_cpus(tmp_path) == 1


def test_a_quota_above_the_affinity_changes_nothing(tmp_path: Path) -> None:
    """Being allowed a hundred CPUs' time does not make a hundred CPUs."""
    tree(tmp_path, proc__self__cgroup="0::/\n", sys__fs__cgroup__cpu_DOT_max="10000000 100000\n")

    assert facts.usable_cpus(tmp_path) == len(os.sched_getaffinity(0))


def test_an_adapter_on_cuda_is_told_the_gpu() -> None:
    """Name, memory and compute capability of the first GPU."""
    traits = facts.traits(Accelerator.CUDA, machine(gpus=(gpu(), gpu())))

    assert (traits.gpu_name, traits.gpu_memory_bytes, traits.compute_capability) == ("A100", 2**36, (8, 0))


@pytest.mark.parametrize("gpus", [(), (gpu(),)])
def test_an_adapter_on_the_cpu_is_told_no_gpu(gpus: tuple[Gpu, ...]) -> None:
    """A GPU that the release does not use is none of its business."""
    expected = HostTraits(accelerator=Accelerator.CPU, cpus=8, memory_bytes=2**34)

    assert facts.traits(Accelerator.CPU, machine(gpus=gpus)) == expected


def test_cuda_without_a_gpu_has_no_gpu_traits() -> None:
    """Preflight refuses such a plan; the traits say only what is there."""
    assert facts.traits(Accelerator.CUDA, machine()).gpu_name is None


def test_unknown_gpu_memory_is_not_zero() -> None:
    """A GPU that shares the machine's memory tells none of its own."""
    assert facts.traits(Accelerator.CUDA, machine(gpus=(gpu(0),))).gpu_memory_bytes is None


def test_traits_look_at_this_machine_by_default() -> None:
    """Without a description, the machine itself is asked."""
    assert facts.traits(Accelerator.CPU).cpus == facts.host().cpus
