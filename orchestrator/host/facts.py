"""What this machine is: for provenance, and for adapters. Read once, at the start of a run."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import psutil

from backends.contract import Accelerator, HostTraits
from orchestrator.domain.provenance import Host
from orchestrator.host import cgroup
from orchestrator.host.gpu import Nvml


def host(root: Path = Path("/")) -> Host:
    """The machine as this process may use it; no host name, no user name."""
    with Nvml() as nvml:
        gpus = nvml.gpus()
    return Host(
        os=_system(),
        kernel=platform.release(),
        machine=platform.machine(),
        cpu=_cpu_model(root),
        cpus=usable_cpus(root),
        memory_bytes=usable_memory_bytes(root),
        python=platform.python_version(),
        gpus=gpus,
    )


def traits(accelerator: Accelerator, machine: Host | None = None) -> HostTraits:
    """What an adapter may know of this machine. GPU fields are those of the first GPU, where CUDA is asked."""
    machine = machine or host()
    gpu = machine.gpus[0] if machine.gpus and accelerator is Accelerator.CUDA else None
    return HostTraits(
        accelerator=accelerator,
        cpus=machine.cpus,
        memory_bytes=machine.memory_bytes,
        gpu_name=gpu.name if gpu else None,
        gpu_memory_bytes=gpu.memory_bytes or None if gpu else None,
        compute_capability=gpu.compute_capability if gpu else None,
    )


def usable_cpus(root: Path = Path("/")) -> int:
    """CPUs that this process may run on, or whole CPUs of its quota if those are fewer; at least one."""
    cpus = len(os.sched_getaffinity(0))
    quota = cgroup.cpu_quota(root)
    return cpus if quota is None else max(1, min(cpus, int(quota)))


def usable_memory_bytes(root: Path = Path("/")) -> int:
    """The machine's memory, or the control group's limit if that is less."""
    memory_bytes: int = psutil.virtual_memory().total
    limit_bytes = cgroup.memory_limit_bytes(root)
    return memory_bytes if limit_bytes is None else min(memory_bytes, limit_bytes)


def _system() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return platform.system()


def _cpu_model(root: Path) -> str:
    """The model's name; 64-bit Arm has none in cpuinfo and is told by its implementer and part numbers."""
    fields = _cpuinfo(root)
    if "model name" in fields:
        return fields["model name"]
    parts = [fields[name] for name in ("CPU implementer", "CPU part") if name in fields]
    return " ".join((platform.machine(), *parts))


def _cpuinfo(root: Path) -> dict[str, str]:
    """The first processor's fields."""
    try:
        block = (root / "proc/cpuinfo").read_text().strip().split("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.split(":", 1) for line in block.splitlines() if ":" in line)
    return {name.strip(): value.strip() for name, value in pairs}
