"""What hangs is ended, and called what it is: phases over their deadline, loads that bring no tokens."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from backends.contract import FailureCause, ImageSpec
from orchestrator import bench, ready, steps
from orchestrator.domain.matrix import Budget, Rules
from orchestrator.domain.plan import Night, Plan
from orchestrator.domain.provenance import Image
from orchestrator.domain.result import Phase
from orchestrator.errors import CellError
from orchestrator.limits import TokenWatch, no_tokens_s
from orchestrator.load.client import Live, Record
from orchestrator.runtime.interface import Deployment, DeploymentSpec, Progress
from tests.fakes.backend import FakeBackend
from tests.fakes.client import FakeClient
from tests.fakes.runtime import FakeRuntime
from tests.test_bench import Rig, cache_dir, rig

__all__ = ["cache_dir", "rig"]
FOR_EVER_S = 60.0


def live(elapsed_s: float, *, tokens_per_s: float = 0.0, users: int = 4) -> Live:
    return Live(elapsed_s, users, ended=0, failed=3, tokens_per_s=tokens_per_s, ttft_s=None)


def test_an_engine_that_answers_nobody_is_given_up() -> None:
    """Counted from its last token; its log goes with the failure."""
    watch = TokenWatch(10.0, lambda: "last words")
    for second in range(5):
        watch.hear(live(second, tokens_per_s=7.0))
    watch.hear(live(14.0))
    with pytest.raises(
        CellError, match="no token for 11 s, with 4 users waiting and 3 requests failed"
    ) as caught:
        watch.hear(live(15.0))

    assert (FailureCause.NO_TOKENS, "last words") == (caught.value.cause, caught.value.log_tail)


def test_nobody_waits_when_nobody_asks() -> None:
    """Time without users is no silence."""
    watch = TokenWatch(10.0, str)
    watch.hear(live(100.0, users=0))
    watch.hear(live(110.0))


def test_every_request_has_been_given_up_by_then(rig: Rig) -> None:
    """Twice as long as a user thinks and a request may be silent: a slow engine is not a hung one."""
    workload = rig.plan(stall_s=60.0, think_s=5.0).groups[0].group.workload

    assert 130.0 == no_tokens_s(workload)


class HungClient(FakeClient):
    """Its engine answers nobody."""

    def run(
        self, spec: object, dialect: object, *, on_live: Callable[[Live], None], **more: object
    ) -> Record:
        if getattr(spec, "tag", "") == "u1":
            for second in range(1000):
                on_live(live(second))
        return super().run(spec, dialect, on_live=on_live, **more)  # type: ignore[arg-type]


def test_a_load_without_tokens_fails_its_cell(rig: Rig) -> None:
    """In its phase, with its cause; the engine is taken down."""
    rig.give(HungClient(rig.runtime.calls))

    assert not bench.run(rig.plan(), rig.kit(), rig.folder)
    phase, cause, message, _ = rig.failure()
    assert (Phase.MEASURE, FailureCause.NO_TOKENS) == (phase, cause)
    assert message.startswith("no token for 31 s")  # its users give up after 15
    assert "down" == rig.runtime.calls[-1]


class HungBuild(FakeRuntime):
    """A registry that answers and sends nothing."""

    def image(self, spec: ImageSpec, progress: Progress) -> Image:
        threading.Event().wait(FOR_EVER_S)
        return super().image(spec, progress)


class SlowStart(FakeRuntime):
    """A daemon that takes its time: what it starts must be known, so that it is not interrupted."""

    def up(self, spec: DeploymentSpec) -> Deployment:
        threading.Event().wait(0.4)
        return super().up(spec)


def limited(plan: Plan, budget: Budget) -> Plan:
    night = Night(title="t", name="n.toml", digest="sha256:0", seed=1, rules=Rules(budget=budget))
    return plan.model_copy(update={"night": night})


@pytest.mark.parametrize(
    ("runtime", "phase", "calls"),
    [(HungBuild, Phase.IMAGE, []), (SlowStart, Phase.UP, ["image", "up", "down"])],
)
def test_a_phase_over_its_deadline_fails_its_cells(
    rig: Rig, runtime: type[FakeRuntime], phase: Phase, calls: list[str]
) -> None:
    """At once where it can be ended, else as soon as it is known what runs; the night goes on."""
    rig.runtime = runtime()
    plan = limited(rig.plan(), Budget(phase_minutes={phase: 0.2 / 60}))

    assert not rig.run(plan)
    assert (phase, FailureCause.DEADLINE) == rig.failure()[:2]
    assert f"{phase.value} took longer than its deadline of 0.2 s" == rig.failure()[2]
    assert f"phase_minutes.{phase.value}" in rig.failure()[3]
    assert calls == rig.runtime.calls
    assert "run-ended" in rig.events()


def test_weights_that_never_come_are_given_up(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The phase with the network in it."""
    monkeypatch.setattr(steps, "weights", lambda *_: threading.Event().wait(FOR_EVER_S))

    assert not rig.run(limited(rig.plan(), Budget(phase_minutes={Phase.WEIGHTS: 0.2 / 60})))
    assert (Phase.WEIGHTS, FailureCause.DEADLINE) == rig.failure()[:2]


def test_readiness_has_the_nights_deadline(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Instead of the adapter's, which would have been half a second."""
    rig.runtime = FakeRuntime(gets={"/health": (503, "")})
    asked = FakeBackend.ready
    monkeypatch.setattr(
        FakeBackend, "ready", lambda *of: asked(*of).model_copy(update={"deadline_s": FOR_EVER_S})
    )

    assert not rig.run(limited(rig.plan(), Budget(phase_minutes={Phase.READY: 0.3 / 60})))
    assert (Phase.READY, FailureCause.DEADLINE, "not ready after 0.3 s: health says 503") == rig.failure()[:3]


def test_a_silent_engine_hangs(rig: Rig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In the phase in which it loads."""
    monkeypatch.setattr("orchestrator.domain.deadlines.SILENCE_S", 0.0)
    monkeypatch.setattr("orchestrator.domain.deadlines.SILENT_BYTES_PER_S", 1e12)
    monkeypatch.setattr(ready, "_require_port", _closed)

    assert not rig.run()
    assert (Phase.READY, FailureCause.HUNG) == rig.failure()[:2]


def _closed(_: object) -> None:
    raise ready.NotYet("waiting for its port")
