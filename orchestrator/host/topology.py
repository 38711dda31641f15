"""This machine's cores, threads and NUMA nodes, as far as this process may use them, from /sys."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path

from backends.contract import Accelerator, HostTraits
from orchestrator.domain.cpus import Core, split
from orchestrator.domain.provenance import CpuSets, Host
from orchestrator.host import cgroup, facts
from orchestrator.host.gpu import Nvml

ROOT = Path("/")


def cpu_sets(gpus: Sequence[str] = (), root: Path = ROOT) -> CpuSets:
    """Those of the engine, beside the GPUs of these UUIDs, and of the load client."""
    return split(cores(os.sched_getaffinity(0), root), gpu_nodes(gpus, root))


def traits(accelerator: Accelerator, host: Host, root: Path = ROOT) -> HostTraits:
    """What an adapter may know of the host: of its CPUs, those that are the engine's."""
    gpus = [gpu.uuid for gpu in host.gpus] if accelerator is Accelerator.CUDA else []
    own = engine_cpus(cpu_sets(gpus, root), root)
    return facts.traits(accelerator, host).model_copy(update={"cpus": own})


def engine_cpus(sets: CpuSets, root: Path = ROOT) -> int:
    """How many CPUs' worth of time the engine has: a quota may be less than the CPUs."""
    quota = cgroup.cpu_quota(root)
    own = len(sets.engine)
    return own if quota is None else max(1, min(own, int(quota) - 1))


def cores(allowed: Collection[int], root: Path = ROOT) -> tuple[Core, ...]:
    """Physical cores in the order of their first CPUs. Where the kernel does not tell, each CPU is a core of node 0."""
    nodes = _nodes(root)
    found: dict[tuple[int, ...], Core] = {}
    for cpu in sorted(allowed):
        path = root / f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"
        siblings = tuple(sorted((_list(path) or {cpu}) & set(allowed))) or (cpu,)
        found.setdefault(siblings, Core(cpus=siblings, node=nodes.get(cpu, 0)))
    return tuple(found.values())


def gpu_nodes(uuids: Sequence[str], root: Path = ROOT) -> frozenset[int]:
    """The NUMA nodes that the GPUs hang on; none where the machine does not tell."""
    if not uuids:
        return frozenset()
    with Nvml() as nvml:
        addresses = [nvml.bus_id(uuid) for uuid in uuids if nvml.knows(uuid)]
    return frozenset(node for address in addresses if (node := _gpu_node(address, root)) >= 0)


def _gpu_node(address: str, root: Path) -> int:
    """NVML writes the PCI domain with eight digits, the kernel with four. -1 is the kernel's word for unknown."""
    domain, _, rest = address.lower().partition(":")
    with suppress(OSError, ValueError):
        return int((root / f"sys/bus/pci/devices/{domain[-4:]}:{rest}/numa_node").read_text())
    return -1


def _nodes(root: Path) -> dict[int, int]:
    """CPU -> node."""
    found = {}
    for path in root.glob("sys/devices/system/node/node[0-9]*/cpulist"):
        node = int(path.parent.name.removeprefix("node"))
        found.update(dict.fromkeys(_list(path), node))
    return found


def _list(path: Path) -> set[int]:
    """A set as the kernel writes it: 0-3,8."""
    try:
        words = path.read_text().strip().split(",")
        pairs = [word.partition("-")[::2] for word in words if word]
        return {cpu for first, last in pairs for cpu in range(int(first), int(last or first) + 1)}
    except (OSError, ValueError):
        return set()
