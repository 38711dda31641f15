"""The clean-room gate within a run: on a GPU as the stub of its driver tells it, and on a CPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import Self

from backends.contract import Accelerator, FailureCause
from orchestrator import bench, group, measure
from orchestrator.domain.cleanroom import Cleared, Moment, Wanted
from orchestrator.domain.evidence import Xid
from orchestrator.domain.matrix import Budget
from orchestrator.domain.plan import Plan
from orchestrator.domain.provenance import Gpu, Host
from orchestrator.domain.reasons import Level, Reason
from orchestrator.domain.result import Phase
from orchestrator.errors import CellError, HostError, NotCleanError, RequestError
from orchestrator.group import Group
from orchestrator.host import gate, topology
from orchestrator.host.gate import Gate
from orchestrator.host.telemetry import Telemetry
from orchestrator.host.watch import GpuWatch
from orchestrator.kit import Kit
from orchestrator.load.client import LoadClient
from orchestrator.report.records import State as Stored
from orchestrator.runtime.interface import State
from tests import test_bench
from tests.fakes.nvml import Stub
from tests.fakes.runtime import FakeRuntime
from tests.test_bench import HOST, WHOLE, Rig, cell

rig, cache_dir = test_bench.rig, test_bench.cache_dir

LEAK = "memory_used 0 60000000000"
GPUS = tuple(
    Gpu(uuid=f"GPU-stub-{i}", name="Stub A100", memory_bytes=80 * 2**30, driver="535.104.05")
    for i in range(3)
)


class GpuRig:
    """A rig whose plan is for GPUs, of which the host has three."""

    def __init__(self, rig: Rig, stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
        self.rig = rig
        self.stub = stub
        host = HOST.model_copy(update={"gpus": GPUS})
        self._kit = rig.kit
        monkeypatch.setattr(rig, "kit", lambda: _on(host, self._kit()))
        stub.script("gpus * 3")

    def plan(self, gpus: str = "1") -> Plan:
        plan = self.rig.plan()
        changes = {"accelerator": Accelerator.CUDA, "gpus": gpus}
        groups = tuple(
            g.model_copy(update={"group": g.group.model_copy(update=changes)}) for g in plan.groups
        )
        return plan.model_copy(update={"groups": groups})

    def run(self, gpus: str = "1", **client: Any) -> bool:
        return self.rig.run(self.plan(gpus), **client)

    def kept(self, moment: Moment, name: str = "one") -> Cleared:
        path = self.rig.folder.gate_path(f"{name}-current-tiny-defaults.{moment.value}")
        return Cleared.model_validate_json(path.read_bytes())


def _on(host: Host, kit: Kit) -> Kit:
    return Kit(**{**{f: getattr(kit, f) for f in Kit.__slots__}, "host": host})


@pytest.fixture
def gpu_rig(rig: Rig, nvml_stub: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GpuRig:
    """The GPUs' idle is known: nothing has to be watched for long."""
    monkeypatch.setattr(gate, "FILE", f"idle-{tmp_path.name}.json")
    monkeypatch.setattr("orchestrator.domain.cleanroom.COOLING_S", 0.0)
    return GpuRig(rig, nvml_stub, monkeypatch)


def test_both_looks_are_kept_with_the_result(gpu_rig: GpuRig) -> None:
    """Before: in every result and in the run folder; after: in the run folder; both in the journal."""
    assert gpu_rig.run()

    before, after = gpu_rig.kept(Moment.BEFORE), gpu_rig.kept(Moment.AFTER)
    assert [(), ()] == [before.in_the_way, after.in_the_way]
    assert ["GPU-stub-0", "GPU-stub-1", "GPU-stub-2"] == [gpu.uuid for gpu in after.snapshot.gpus]
    result = gpu_rig.rig.result(cell("u2"))
    assert result.gate == before
    assert "gpu0: seen for the first time: 1.1 GB in use are taken for its idle" in before.remarks
    noted = [e for e in gpu_rig.rig.folder.read_journal().entries if e["event"] == "gate"]
    assert ["before", "after"] == [entry["seen"].rpartition(".")[2] for entry in noted]


def test_a_dirty_gpu_is_not_measured_on(gpu_rig: GpuRig) -> None:
    """The engine is not even started; what was seen is kept, and the run ends."""
    Gate(gpu_rig.rig.cache_dir, Wanted(gpus=("GPU-stub-0",)), lambda: ()).look(Moment.BEFORE, print)
    gpu_rig.stub.script("gpus * 3", LEAK)

    with pytest.raises(NotCleanError, match=r"gpu0: 58\.9 GB above its idle 1\.1 GB"):
        gpu_rig.run()

    assert ["image"] == gpu_rig.rig.runtime.calls
    assert ["gpu0: 58.9 GB above its idle 1.1 GB"] == [t.text for t in gpu_rig.kept(Moment.BEFORE).in_the_way]


def test_a_gpu_that_is_not_released_stops_the_night(gpu_rig: GpuRig) -> None:
    """Everything that was measured stays; the next group does not begin."""
    gpu_rig.rig.names = ("one", "two")

    def leak(*_: object) -> None:
        gpu_rig.stub.script("gpus * 3", LEAK)

    _when(gpu_rig.rig, "down", leak)
    with pytest.raises(HostError, match="the engine is gone, but"):
        gpu_rig.run()

    assert WHOLE == gpu_rig.rig.runtime.calls
    stored = {s.cell_id: s.state for s in gpu_rig.rig.folder.results()}
    assert {cell("u1"): Stored.COMPLETE, cell("u2"): Stored.COMPLETE} == stored
    assert gpu_rig.kept(Moment.AFTER).in_the_way
    assert ["gate", "phase-failed"] == [e["event"] for e in gpu_rig.rig.folder.read_journal().entries[-2:]]


def test_an_engine_that_fails_is_followed_by_a_look_too(gpu_rig: GpuRig) -> None:
    """It is the likeliest one to leave something behind."""
    gpu_rig.rig.runtime = FakeRuntime(states=[State(running=False, exit_code=139)])

    assert not gpu_rig.run()

    assert () == gpu_rig.kept(Moment.AFTER).in_the_way


@pytest.fixture
def stranger() -> Iterator[int]:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process.pid
        process.communicate(b"\n")


def loaded(gpu_rig: GpuRig, monkeypatch: pytest.MonkeyPatch, *lines: str) -> bool:
    """A real load of one cell, within which the GPU's state changes; it is well again when the engine is gone."""

    def change(_: object) -> None:
        gpu_rig.stub.script("gpus * 3", *lines)

    monkeypatch.setattr(measure, "settle", change)
    _when(gpu_rig.rig, "down", lambda: gpu_rig.stub.script("gpus * 3"))
    workload = {"ramp_s": 0.1, "duration_s": 3.0, "window_s": 0.5, "warmup_requests": 1}
    plan = gpu_rig.plan()
    (planned,) = plan.groups
    shorter = planned.group.workload.model_copy(update=workload)
    group_of_one = planned.group.model_copy(update={"workload": shorter, "loads": planned.group.loads[:1]})
    gpu_rig.rig.give(LoadClient())
    one = plan.model_copy(update={"groups": (planned.model_copy(update={"group": group_of_one}),)})
    return bench.run(one, gpu_rig.rig.kit(), gpu_rig.rig.folder)


def test_what_befalls_a_gpu_under_load_speaks_against_the_figures(
    gpu_rig: GpuRig, monkeypatch: pytest.MonkeyPatch, stranger: int
) -> None:
    """A stranger, an Xid of the card, heat and a memory error: each named, with figures that are kept."""
    dirty = (
        *("processes 0 1", f"first_pid 0 {stranger}", "event_number 0 1", "xid 0 79"),
        *("throttle 0 64", "ecc_uncorrected 0 1"),
    )

    assert not loaded(gpu_rig, monkeypatch, *dirty), "invalid figures are as good as none"

    result = gpu_rig.rig.result(cell("u1"))
    assert result.metrics is not None
    assert result.verdict is not None
    assert Level.INVALID is result.verdict.level
    expected = {Reason.FOREIGN_PROCESS, Reason.XID, Reason.THROTTLED, Reason.ECC_ERRORS}
    assert expected == expected & {finding.reason for finding in result.verdict.findings}
    assert (1, 1) == (result.evidence.foreign_processes, result.evidence.foreign_computing)
    assert (Xid(gpu="gpu0", code=79),) == result.evidence.xids
    (noted,) = [e for e in gpu_rig.rig.folder.read_journal().entries if e["event"] == "foreign-process"]
    assert f"process {stranger}" in noted["who"]


def test_a_clean_gpu_under_load_is_looked_at_for_everything(
    gpu_rig: GpuRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing found, nothing left unchecked; on whose CPUs engine and client ran is told."""
    assert loaded(gpu_rig, monkeypatch)

    result = gpu_rig.rig.result(cell("u1"))
    assert result.verdict is not None
    of_gpus = {Reason.FOREIGN_PROCESS, Reason.XID, Reason.THROTTLED, Reason.ECC_ERRORS, Reason.GPU_LOST}
    told = {finding.reason for finding in result.verdict.findings} | set(result.verdict.not_checked)
    assert set() == of_gpus & told
    assert result.provenance is not None
    assert result.provenance.cpus is not None
    assert (("GPU-stub-0",), result.evidence.client_apart) == (
        result.provenance.gpus,
        result.provenance.cpus.apart,
    )


def test_a_gpu_that_is_lost_under_load_is_the_cause(gpu_rig: GpuRig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine dies of it; the failure names the GPU, and the look after it ends the run at once."""
    followed: list[Telemetry] = []

    class Noted(Telemetry):
        def __enter__(self) -> Self:
            followed.append(self)
            return self.start()

    def lose(_: object) -> None:
        gpu_rig.stub.script("gpus * 3", "lost 0 1")
        until_s = time.monotonic() + 60
        while not any(s.values.get("gpu0.lost") for s in followed[0].samples()):
            assert time.monotonic() < until_s
            time.sleep(0.05)

    monkeypatch.setattr(group, "Telemetry", Noted)
    monkeypatch.setattr(measure, "settle", lose)

    with pytest.raises(NotCleanError, match="GPU-stub-0 is not among the GPUs that answer here"):
        gpu_rig.run(fail={"u1": CellError("the engine died with exit code 139")})

    phase, cause, message, _ = gpu_rig.rig.failure("u1")
    assert (Phase.MEASURE, FailureCause.GPU) == (phase, cause)
    assert "gpu0 fell off the bus: the engine died with exit code 139" == message


def test_a_group_that_never_came_to_the_gate_leaves_nothing_to_look_for(gpu_rig: GpuRig) -> None:
    """An image that cannot be built has touched no GPU."""
    gpu_rig.rig.runtime._fail["image"] = NotImplementedError()
    with pytest.raises(NotImplementedError):
        gpu_rig.run()

    unbegun = Group(gpu_rig.plan().groups[0], gpu_rig.rig.kit(), gpu_rig.rig.folder, None, Budget())  # type: ignore[arg-type]
    unbegun.gate(Moment.AFTER)
    assert not (gpu_rig.rig.folder.path / "gates").exists()


@pytest.mark.parametrize(
    ("asked", "expected"),
    [("1", (0,)), ("2", (0, 1)), ("GPU-stub-2", (2,)), ("GPU-stub-2, GPU-stub-0", (2, 0))],
)
def test_an_engine_gets_the_gpus_that_were_asked_for(
    gpu_rig: GpuRig, monkeypatch: pytest.MonkeyPatch, asked: str, expected: tuple[int, ...]
) -> None:
    """The first, so many, or those that are named: by UUID, and these are what gate and telemetry watch."""
    if 1 not in expected:
        gpu_rig.stub.script("gpus * 3", "processes 1 1")
    watched: list[list[str]] = []

    def watch(uuids: Sequence[str], ours: Callable[[], frozenset[int] | None]) -> GpuWatch:
        watched.append(list(uuids))
        return GpuWatch(uuids, ours)

    monkeypatch.setattr(group, "GpuWatch", watch)
    assert gpu_rig.run(asked)

    assert tuple(f"GPU-stub-{i}" for i in expected) == gpu_rig.rig.runtime.deployed[-1].gpus
    assert [f"GPU-stub-{i}" for i in expected] == watched[-1]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("4", "4 GPUs were asked for, 3 are here"),
        ("GPU-other", "unknown GPU"),
        ("GPU-stub", "beginning of 3"),
    ],
)
def test_gpus_that_are_not_there_are_told(gpu_rig: GpuRig, asked: str, words: str) -> None:
    """Before anything is started."""
    with pytest.raises(RequestError, match=words):
        gpu_rig.run(asked)

    assert "up" not in gpu_rig.rig.runtime.calls


def test_a_cpu_goes_through_the_same_gate(rig: Rig) -> None:
    """Its memory and its load are noted before and after, and nothing of a GPU."""
    assert rig.run()

    for moment in Moment:
        path = rig.folder.gate_path(f"one-current-tiny-defaults.{moment.value}")
        seen = json.loads(path.read_bytes())
        assert [] == seen["snapshot"]["gpus"]
        assert seen["snapshot"]["host"]["memory_available_bytes"] > 0
    assert rig.result(cell("u1")).gate is not None


def test_engine_and_client_are_on_cpus_of_their_own(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the engine is up we are on the client's, and afterwards wherever we were; the result says which."""
    before, on = os.sched_getaffinity(0), list[set[int]]()
    monkeypatch.setattr(measure, "settle", lambda _: on.append(os.sched_getaffinity(0)))

    assert rig.run()

    sets = topology.cpu_sets()
    assert [set(sets.client)] * 2 == on
    assert sets.engine == rig.runtime.deployed[-1].cpus
    assert before == os.sched_getaffinity(0)
    provenance = rig.result(cell("u1")).provenance
    assert provenance is not None
    assert sets == provenance.cpus


def test_what_a_dead_run_left_keeps_an_engine_from_starting(
    rig: Rig,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It would be measured too."""
    monkeypatch.setattr(rig.runtime, "reap", lambda *, dry_run: ("run-1-one",))

    with pytest.raises(NotCleanError, match="a dead run left run-1-one"):
        rig.run()

    assert "up" not in rig.runtime.calls


def _when(rig: Rig, verb: str, happens: Callable[..., object]) -> None:
    """Something happens while the runtime does it."""
    done = getattr(rig.runtime, verb)

    def do(*arguments: Any) -> Any:
        happens()
        return done(*arguments)

    setattr(rig.runtime, verb, do)
