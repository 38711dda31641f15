"""A run that is gone on with: what counts of it, what is measured again and why, what is tried once more."""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import pytest

from backends.contract import FailureCause, ImageSpec
from orchestrator.domain.cell import Role
from orchestrator.domain.content import Content, differences
from orchestrator.domain.evidence import Apart
from orchestrator.domain.exchange import Outcome
from orchestrator.domain.plan import Plan
from orchestrator.domain.provenance import CpuSets, Image
from orchestrator.domain.result import Phase
from orchestrator.errors import CellError, HostError, Interrupted
from orchestrator.host import topology
from orchestrator.runtime.interface import DeploymentSpec, Progress, Rendered
from orchestrator.store.runs import RunFolder
from tests.fakes.client import bad
from tests.fakes.runtime import FakeRuntime
from tests.test_bench import HOST, WHOLE, Rig, cache_dir, cell, rig

__all__ = ["cache_dir", "rig"]
DIED = CellError("the engine died", cause=FailureCause.MEMORY_WEIGHTS)
BUSY = CellError("the port is taken", cause=FailureCause.PORT_IN_USE)


def events(of: Rig, name: str) -> list[dict[str, Any]]:
    return [e for e in of.folder.read_journal().entries if e["event"] == name]


def cut_short(of: Rig, plan: Plan | None = None) -> Plan:
    """A run that was interrupted in its second load; the plan that it had."""
    plan = plan or of.plan()
    with pytest.raises(Interrupted):
        of.run(plan, fail={"u2": Interrupted("SIGTERM")})
    of.runtime = FakeRuntime()
    return plan


def test_what_had_ended_counts_and_the_rest_is_measured(rig: Rig) -> None:
    """On a fresh engine; the finished cell's files are not touched."""
    plan = cut_short(rig)
    sealed = (rig.folder.cell(cell("u1")).path / "result.json").read_bytes()

    assert rig.run(plan)
    assert ["image", "up", "probe", "warm-up", "u2", "down"] == rig.runtime.calls
    assert sealed == (rig.folder.cell(cell("u1")).path / "result.json").read_bytes()
    assert [cell("u1")] == [e["cell"] for e in events(rig, "cell-reused")]
    assert [] == events(rig, "cell-set-aside")
    assert "reused, all that it rests on is as it was" in rig.screen.getvalue()


def test_a_group_that_is_proven_whole_is_not_brought_up(rig: Rig) -> None:
    """Its image is looked up, and that is all."""
    plan = rig.plan()
    rig.run(plan)
    rig.runtime = FakeRuntime()

    assert rig.run(plan)
    assert ["image"] == rig.runtime.calls
    assert 2 == len(events(rig, "cell-reused"))


class OtherImage(FakeRuntime):
    """The engine was built anew."""

    def image(self, spec: ImageSpec, progress: Progress) -> Image:
        return replace_image(super().image(spec, progress))


class OtherArgv(FakeRuntime):
    """The engine would be started otherwise."""

    def rendered(self, spec: DeploymentSpec) -> Rendered:
        rendered = super().rendered(spec)
        return replace(rendered, argv=(*rendered.argv, "--more"), env={**rendered.env, "FAKE": "2"})


def replace_image(image: Image) -> Image:
    return image.model_copy(update={"digest": "sha256:1"})


@pytest.mark.parametrize(
    ("runtime", "why"),
    [
        (OtherImage, ["image (sha256:0 -> sha256:1)"]),
        (OtherArgv, ["argv (--more)", "env (FAKE)"]),
    ],
)
def test_what_rests_on_something_else_is_measured_again(
    rig: Rig, runtime: type[FakeRuntime], why: list[str]
) -> None:
    """The old result is set aside, not lost, and the journal says why it does not count."""
    plan = cut_short(rig)
    rig.runtime = runtime()

    assert rig.run(plan)
    assert ["u1", "u2"] == [call for call in rig.runtime.calls if call.startswith("u") and call != "up"]
    (event,) = events(rig, "cell-set-aside")
    assert (cell("u1"), why) == (event["cell"], event["why"])
    assert (rig.folder.path / "superseded" / event["place"] / "result.json").exists()


def test_other_hardware_is_another_measurement(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run folder that was carried to another machine; a kernel that counts memory a little differently is none."""
    plan = cut_short(rig)
    same = HOST.model_copy(update={"memory_bytes": HOST.memory_bytes + 4096, "kernel": "2"})
    monkeypatch.setattr("tests.test_bench.HOST", same)
    with pytest.raises(Interrupted):
        rig.run(plan, fail={"u2": Interrupted("SIGTERM")})
    assert 1 == len(events(rig, "cell-reused"))
    monkeypatch.setattr("tests.test_bench.HOST", HOST.model_copy(update={"cpus": 64}))
    rig.runtime = FakeRuntime()

    assert rig.run(plan)
    (event,) = events(rig, "cell-set-aside")
    assert "64 CPUs" in event["why"][0]


def test_other_cpus_are_another_measurement(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same host, but engine and client are kept on other cores of it."""
    before, after = (CpuSets(engine=engine, client=(3,), apart=Apart.CORES) for engine in ((0, 1), (0,)))
    monkeypatch.setattr(topology, "cpu_sets", lambda _: before)
    monkeypatch.setattr("orchestrator.group.pinned", lambda _: nullcontext())
    plan = cut_short(rig)
    monkeypatch.setattr(topology, "cpu_sets", lambda _: after)

    assert rig.run(plan)
    (event,) = events(rig, "cell-set-aside")
    assert ["cpus (engine 0-1, client 3 -> engine 0, client 3)"] == event["why"]


def test_other_gpus_of_the_host_are_another_measurement() -> None:
    """All of the host's stand in its hardware; which of them the engine got is told apart."""
    base = Content(
        method=3, image="i", argv=(), env={}, files={}, steps={}, weights="w", prompts="p", requests="r",
        workload="w", hardware="h", gpus=("GPU-a",), cpus="c",
    )  # fmt: skip

    assert ("gpus (GPU-b GPU-a)",) == differences(base, base.model_copy(update={"gpus": ("GPU-b",)}))


def test_a_changed_workload_is_another_measurement(rig: Rig) -> None:
    """But not which other loads the deployment has."""
    cut_short(rig)
    longer = rig.plan(duration_s=0.9)

    assert rig.run(longer)
    (event,) = events(rig, "cell-set-aside")
    assert event["why"][0].startswith("workload (")


def test_more_loads_change_nothing_for_those_that_are_there(rig: Rig) -> None:
    """A load's content is its own."""
    rig.run(rig.plan(users=(1, 2)))
    rig.runtime = FakeRuntime()

    assert rig.run(rig.plan(users=(1, 2, 3)))
    assert ["image", "up", "probe", "warm-up", "u3", "down"] == rig.runtime.calls


@pytest.mark.parametrize("field", ["content", "figures"])
def test_a_result_that_was_altered_does_not_count(rig: Rig, field: str) -> None:
    """Its seal is broken."""
    plan = cut_short(rig)
    path = rig.folder.cell(cell("u1")).path / "result.json"
    envelope = json.loads(path.read_text())
    if field == "content":
        envelope["result"]["content"]["image"] = "sha256:0"
        envelope["result"]["content"]["method"] = 99
    else:
        envelope["result"]["metrics"]["tokens_per_s"] = 1e9
    path.write_text(json.dumps(envelope))

    assert rig.run(plan)
    (event,) = events(rig, "cell-set-aside")
    assert ["result.json was altered after it was written"] == event["why"]


def test_a_failure_is_an_end(rig: Rig) -> None:
    """It is not tried again by going on, and nothing is brought up for it."""
    rig.runtime = FakeRuntime(fail={"up": DIED})
    assert not rig.run()
    rig.runtime = FakeRuntime()

    assert not rig.run()
    assert [] == rig.runtime.calls
    assert "--only-failed tries them again" in rig.screen.getvalue()


def test_a_failure_under_load_leaves_the_loads_before_it(rig: Rig) -> None:
    """Going on proves those and tries nothing."""
    assert not rig.run(fail={"u2": DIED})
    rig.runtime = FakeRuntime()

    assert not rig.run()
    assert ["image"] == rig.runtime.calls


# Tried once more


class Recovers(FakeRuntime):
    """Fails the first time that it is asked."""

    def __init__(self, error: CellError, times: int = 1) -> None:
        super().__init__()
        self._error, self._left = error, times

    def up(self, spec: DeploymentSpec) -> Any:
        if self._left:
            self._left -= 1
            self.calls.append("failed")
            raise self._error
        return super().up(spec)


def test_what_may_be_over_is_tried_once_more(rig: Rig) -> None:
    """From the image on; the journal has both attempts, and the result says so."""
    rig.runtime = Recovers(BUSY)

    assert rig.run()
    assert ["image", "failed", *WHOLE] == rig.runtime.calls
    (event,) = events(rig, "group-tried-again")
    assert (1, "up", "port-in-use", "the port is taken") == tuple(
        event[name] for name in ("attempt", "phase", "cause", "error")
    )
    assert {2} == {e["attempt"] for e in events(rig, "cell-began")}
    result = rig.result(cell("u1"))
    assert ("the first attempt ended in up: the port is taken",) == result.notes
    assert ["weights"] == [record.id for record in result.steps]


def test_it_is_tried_once_more_and_no_more(rig: Rig) -> None:
    """The second failure is recorded."""
    rig.runtime = Recovers(BUSY, times=2)

    assert not rig.run()
    assert ["image", "failed", "image", "failed"] == rig.runtime.calls
    assert (Phase.UP, FailureCause.PORT_IN_USE) == rig.failure()[:2]


@pytest.mark.parametrize("fail", [{"up": DIED}, {"image": DIED}])
def test_what_would_fail_the_same_way_is_not(rig: Rig, fail: dict[str, BaseException]) -> None:
    """Memory does not grow by waiting."""
    rig.runtime = FakeRuntime(fail=fail)

    assert not rig.run()
    assert [] == events(rig, "group-tried-again")


def test_a_load_is_never_tried_again(rig: Rig) -> None:
    """Whatever the cause: measuring had begun."""
    assert not rig.run(fail={"u1": CellError("killed", cause=FailureCause.KILLED)})
    assert [] == events(rig, "group-tried-again")
    assert WHOLE[:5] == rig.runtime.calls[:5]


# A broken engine


def four(of: Rig) -> Plan:
    """The same engine and model in four groups, and another engine last."""
    of.names = ("one", "two")
    first, other = of.plan(users=(1,)).groups
    marked = [
        first.model_copy(update={"group": first.group.model_copy(update={"mark": str(n)})}) for n in range(4)
    ]
    return Plan(groups=(*marked, other))


def test_after_the_second_identical_failure_it_is_not_tried(rig: Rig) -> None:
    """Two are proof; the others are recorded as not tried with that reason, and the other engine gets its turn."""
    plan = four(rig)
    rig.runtime = FakeRuntime(fail={"up": DIED})

    assert not rig.run(plan)
    assert ["up"] * 3 == [call for call in rig.runtime.calls if call == "up"]
    failures = [rig.result(c.id).failure for g in plan.groups for c in g.group.cells]
    assert [False, False, True, True, False] == [f is not None and f.skipped for f in failures]
    assert failures[3] is not None
    assert "have failed twice the same way: the engine died" in failures[3].message
    assert FailureCause.MEMORY_WEIGHTS is failures[3].cause


def test_failures_before_a_crash_count_too(rig: Rig) -> None:
    """The night that goes on knows what had failed."""
    plan = four(rig)
    rig.runtime = FakeRuntime(fail={"up": DIED})
    rig.run(Plan(groups=plan.groups[:2]))
    rig.runtime = FakeRuntime()
    rig.run(plan)

    assert ["up"] == [call for call in rig.runtime.calls if call == "up"]


# The end


def test_invalid_figures_are_as_good_as_none(rig: Rig) -> None:
    """They stand in the report, and the run says that something is wrong."""
    assert not rig.run(gives={"u2": [bad(Outcome.CONNECT) for _ in range(8)]})
    assert rig.result(cell("u2")).verdict is not None


def test_the_control_is_judged_at_the_end(rig: Rig) -> None:
    """In the journal and on the screen."""
    first = rig.plan(users=(1,)).groups[0]
    control = [
        first.model_copy(
            update={"group": first.group.model_copy(update={"role": Role.CONTROL, "mark": f"control-{n}"})}
        )
        for n in (1, 2)
    ]
    rig.run(Plan(groups=(control[0], first, control[1])))
    (event,) = events(rig, "control-judged")

    assert event["steady"] is True
    assert event["told"][0] in rig.screen.getvalue()


def test_a_phase_that_failed_has_its_seconds_too(rig: Rig) -> None:
    """So that the ledger of a night is whole."""
    rig.runtime = FakeRuntime(fail={"up": HostError("no daemon")})
    with pytest.raises(HostError):
        rig.run()
    (event,) = events(rig, "phase-failed")

    assert "up" == event["phase"]
    assert event["took_s"] >= 0


def test_a_stored_plan_is_carried_out_as_it_stands(rig: Rig) -> None:
    """run.json is enough: what is read back is what was planned."""
    plan = rig.plan()
    folder = RunFolder.create(rig.folder.path.parent, "stored", plan.model_dump(mode="json"))

    assert plan == folder.plan()
