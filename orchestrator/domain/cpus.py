"""Who runs where: the engine and the load client on CPUs of their own. Pure; docs/decisions/0008 says why so."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from backends.contract import Value
from orchestrator.domain.evidence import Apart
from orchestrator.domain.provenance import CpuSets

CORES_PER_CLIENT_CORE = 8
MOST_CLIENT_CORES = 4


class Core(Value):
    """A physical core: its hardware threads that we may use, and its NUMA node."""

    cpus: tuple[int, ...]
    node: int = 0


def split(cores: Sequence[Core], gpu_nodes: Collection[int] = ()) -> CpuSets:
    """The engine gets the cores of its GPUs' nodes, or all; the client whole cores, the last ones, elsewhere if
    there are any. One core alone is parted by its threads; one thread alone is shared."""
    if len(cores) == 1:
        return _within(cores[0])
    near = [core for core in cores if core.node in gpu_nodes] or list(cores)
    far = [core for core in cores if core not in near]
    number = min(max(1, len(cores) // CORES_PER_CLIENT_CORE), MOST_CLIENT_CORES)
    client = (far or near)[-number:]
    return _sets([core for core in near if core not in client], client, Apart.CORES)


def ranges(cpus: Collection[int]) -> str:
    """As the kernel writes a set: 0-3,8."""
    runs: list[list[int]] = []
    for cpu in sorted(cpus):
        if runs and cpu == runs[-1][-1] + 1:
            runs[-1].append(cpu)
        else:
            runs.append([cpu])
    return ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def _within(core: Core) -> CpuSets:
    if len(core.cpus) == 1:
        return _sets([core], [core], Apart.NOT)
    engine, client = (core.model_copy(update={"cpus": cpus}) for cpus in (core.cpus[:-1], core.cpus[-1:]))
    return _sets([engine], [client], Apart.THREADS)


def _sets(engine: Sequence[Core], client: Sequence[Core], apart: Apart) -> CpuSets:
    return CpuSets(
        engine=_cpus(engine), client=_cpus(client), nodes=tuple(sorted({c.node for c in engine})), apart=apart
    )


def _cpus(cores: Sequence[Core]) -> tuple[int, ...]:
    return tuple(sorted(cpu for core in cores for cpu in core.cpus))
