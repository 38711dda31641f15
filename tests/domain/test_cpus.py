"""Who runs where, on hosts from one thread to two sockets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain import cpus
from orchestrator.domain.cpus import Core
from orchestrator.domain.evidence import Apart


def sockets(nodes: int, cores: int, threads: int = 1) -> list[Core]:
    """As Linux numbers them: first threads of all cores first."""
    total = nodes * cores
    return [
        Core(cpus=tuple(core + total * t for t in range(threads)), node=core // cores)
        for core in range(total)
    ]


@pytest.mark.parametrize(
    ("cores", "gpu_nodes", "engine", "client", "apart"),
    [
        (sockets(1, 1), (), "0", "0", Apart.NOT),
        (sockets(1, 1, 2), (), "0", "1", Apart.THREADS),
        (sockets(1, 2), (), "0", "1", Apart.CORES),
        (sockets(1, 2, 2), (), "0,2", "1,3", Apart.CORES),
        (sockets(1, 8), (), "0-6", "7", Apart.CORES),
        (sockets(1, 16), (), "0-13", "14-15", Apart.CORES),
        (sockets(1, 64), (), "0-59", "60-63", Apart.CORES),
        (sockets(2, 16, 2), (), "0-27,32-59", "28-31,60-63", Apart.CORES),
        (sockets(2, 16), {0}, "0-15", "28-31", Apart.CORES),
        (sockets(2, 16), {1}, "16-31", "12-15", Apart.CORES),
        (sockets(2, 16), {0, 1}, "0-27", "28-31", Apart.CORES),
        (sockets(2, 16), {7}, "0-27", "28-31", Apart.CORES),
        ([*sockets(1, 15), Core(cpus=(15,), node=1)], {1}, "15", "13-14", Apart.CORES),
        ([Core(cpus=(0,), node=0), Core(cpus=(1,), node=1)], {1}, "1", "0", Apart.CORES),
    ],
)
def test_engine_and_client_are_kept_apart(
    cores: list[Core], gpu_nodes: set[int], engine: str, client: str, apart: Apart
) -> None:
    """Whole cores, the client's the last ones, the engine's beside its GPUs."""
    sets = cpus.split(cores, gpu_nodes)

    assert (engine, client, apart) == (cpus.ranges(sets.engine), cpus.ranges(sets.client), sets.apart)


def test_the_engines_nodes_are_told() -> None:
    """Those of its cores."""
    assert (1,) == cpus.split(sockets(2, 4), {1}).nodes
    assert (0, 1) == cpus.split(sockets(2, 4)).nodes


@given(st.integers(1, 4), st.integers(1, 40), st.integers(1, 4), st.sets(st.integers(0, 4)))
def test_sets_never_overlap_unless_there_is_one_thread(
    nodes: int, cores: int, threads: int, gpu_nodes: set[int]
) -> None:
    """Both have something; together no more than there is; no core is parted where there are two."""
    host = sockets(nodes, cores, threads)
    sets = cpus.split(host, gpu_nodes)
    engine, client = set(sets.engine), set(sets.client)

    assert engine
    assert client
    assert engine | client <= {cpu for core in host for cpu in core.cpus}
    assert (sets.apart is Apart.NOT) is bool(engine & client)
    if len(host) > 1:
        assert all(set(core.cpus) <= engine or not set(core.cpus) & engine for core in host)


@pytest.mark.parametrize(
    ("numbers", "text"), [((), ""), ((3,), "3"), ((0, 1, 2, 8), "0-2,8"), ((5, 4, 0), "0,4-5")]
)
def test_sets_are_written_as_the_kernel_does(numbers: tuple[int, ...], text: str) -> None:
    """So does Docker's cpuset."""
    assert text == cpus.ranges(numbers)
