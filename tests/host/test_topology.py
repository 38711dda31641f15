"""orchestrator/host/topology.py and pinning.py: machines made of files, and this one."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from backends.contract import Accelerator
from orchestrator.domain.cpus import Core
from orchestrator.domain.evidence import Apart
from orchestrator.domain.provenance import CpuSets
from orchestrator.host import facts, topology
from orchestrator.host.pinning import pinned
from tests.fakes.nvml import Stub

NOW = "import os; print(sorted(os.sched_getaffinity(0)))"


def machine(root: Path, siblings: dict[int, str], nodes: dict[int, str]) -> Path:
    for cpu, text in siblings.items():
        path = root / f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"
        path.parent.mkdir(parents=True)
        path.write_text(f"{text}\n")
    for node, text in nodes.items():
        path = root / f"sys/devices/system/node/node{node}/cpulist"
        path.parent.mkdir(parents=True)
        path.write_text(f"{text}\n")
    return root


@pytest.fixture
def two_nodes(tmp_path: Path) -> Path:
    """Two nodes of two cores with two threads each; the stub's first GPU hangs on the second."""
    threads = {0: "0,4", 1: "1,5", 2: "2,6", 3: "3,7", 4: "0,4", 5: "1,5", 6: "2,6", 7: "3,7"}
    root = machine(tmp_path, threads, {0: "0-1,4-5", 1: "2-3,6-7"})
    for address, node in (("0000:3b:00.0", "1"), ("0000:3c:00.0", "-1")):
        path = root / f"sys/bus/pci/devices/{address}/numa_node"
        path.parent.mkdir(parents=True)
        path.write_text(f"{node}\n")
    return root


def test_cores_have_their_threads_and_nodes(two_nodes: Path) -> None:
    """Each core once."""
    expected = tuple(Core(cpus=(cpu, cpu + 4), node=cpu // 2) for cpu in range(4))

    assert expected == topology.cores(range(8), two_nodes)


def test_only_what_this_process_may_use_counts(two_nodes: Path) -> None:
    """taskset or a container may leave one thread of a core."""
    expected = (Core(cpus=(0, 4), node=0), Core(cpus=(3,), node=1))

    assert expected == topology.cores({0, 3, 4}, two_nodes)


def test_a_machine_that_does_not_tell_has_a_core_for_each_cpu(tmp_path: Path) -> None:
    """As in some virtual machines: nothing under /sys."""
    assert (Core(cpus=(0,)), Core(cpus=(1,))) == topology.cores({0, 1}, tmp_path)


def test_a_gpu_is_found_by_its_address(nvml_stub: Stub, two_nodes: Path) -> None:
    """NVML writes it with eight digits; -1 is unknown, and so is a GPU that is not there."""
    nvml_stub.script("gpus * 2")

    assert {1} == topology.gpu_nodes(["GPU-stub-0"], two_nodes)
    assert {1} == topology.gpu_nodes(["GPU-stub-0", "GPU-stub-1", "GPU-other"], two_nodes)
    assert set() == topology.gpu_nodes(["GPU-stub-1"], two_nodes)


def test_the_engine_stays_beside_its_gpu(
    nvml_stub: Stub, two_nodes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client is on the other node."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))

    sets = topology.cpu_sets(["GPU-stub-0"], two_nodes)

    assert CpuSets(engine=(2, 3, 6, 7), client=(1, 5), nodes=(1,), apart=Apart.CORES) == sets


def test_a_quota_leaves_less_than_the_cpus(tmp_path: Path) -> None:
    """One CPU's worth is the client's."""
    sets = CpuSets(engine=tuple(range(7)), client=(7,), apart=Apart.CORES)
    (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
    assert 7 == topology.engine_cpus(sets, tmp_path)
    for quota, expected in (("400000", 3), ("100000", 1), ("1600000", 7)):
        (tmp_path / "sys/fs/cgroup/cpu.max").write_text(f"{quota} 100000")
        assert expected == topology.engine_cpus(sets, tmp_path)


def test_an_adapter_knows_of_the_engines_cpus_alone(
    nvml_stub: Stub, two_nodes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the GPU's node as long as it is served by a GPU, else of all but the client's."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    host = facts.host(two_nodes)

    assert 4 == topology.traits(Accelerator.CUDA, host, two_nodes).cpus
    assert 6 == topology.traits(Accelerator.CPU, host, two_nodes).cpus


def test_this_machine_is_parted() -> None:
    """Whatever it is: both sides have CPUs that we may use."""
    sets = topology.cpu_sets()

    assert set(sets.engine) | set(sets.client) <= os.sched_getaffinity(0)


def test_everything_of_ours_is_pinned_and_set_free_again() -> None:
    """Threads that run already, and processes that are started meanwhile."""
    before = os.sched_getaffinity(0)
    one = max(before)
    seen: list[set[int]] = []
    go, done = threading.Event(), threading.Event()

    def look() -> None:
        go.wait()
        seen.append(os.sched_getaffinity(0))
        done.wait()

    thread = threading.Thread(target=look)
    thread.start()
    with pinned({one}):
        go.set()
        child = subprocess.run([sys.executable, "-c", NOW], capture_output=True, text=True, check=True)
        assert {one} == os.sched_getaffinity(0)
    done.set()
    thread.join()

    assert ([{one}], f"[{one}]\n") == (seen, child.stdout)
    assert before == os.sched_getaffinity(0)


def test_an_error_sets_free_too() -> None:
    """A failed load must not leave the next group on the client's CPUs."""
    before = os.sched_getaffinity(0)
    with pytest.raises(ZeroDivisionError), pinned({max(before)}):
        1 / 0  # noqa: B018

    assert before == os.sched_getaffinity(0)
