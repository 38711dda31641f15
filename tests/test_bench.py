"""One group from image to teardown: the order of things, and every stage failing in turn."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from backends.contract import (
    Accelerator,
    Dialect,
    FailureCause,
    HostTraits,
    PrefixCache,
    RequestSpec,
    StepSpec,
    Template,
)
from orchestrator import bench, measure, planning, steps
from orchestrator.artifacts import Artifact
from orchestrator.catalog import chat_template, loader
from orchestrator.console import Console
from orchestrator.domain.cell import RuntimeKind
from orchestrator.domain.exchange import Outcome
from orchestrator.domain.plan import Plan
from orchestrator.domain.provenance import Host
from orchestrator.domain.reasons import Level
from orchestrator.domain.result import Phase, Result
from orchestrator.errors import BenchError, CellError, HostError, Interrupted
from orchestrator.host import sources
from orchestrator.host.gate import Pace
from orchestrator.host.telemetry import Source
from orchestrator.interrupts import Interrupts
from orchestrator.kit import Kit
from orchestrator.load.client import LoadClient
from orchestrator.planning import Request
from orchestrator.report.records import State as Stored
from orchestrator.runtime.checkout import Checkout
from orchestrator.runtime.interface import Deployment, DeploymentSpec, JobEnd, State
from orchestrator.store.runs import RunFolder
from tests import workshop
from tests.fakes.backend import FakeBackend
from tests.fakes.client import FakeClient, bad
from tests.fakes.engine import Exchange, steady
from tests.fakes.runtime import ALIVE, FakeRuntime

ROOT = Path(__file__).resolve().parent.parent
HOST = Host(os="test", kernel="1", machine="x", cpu="c", cpus=2, memory_bytes=2**30, python="3.11")
TRAITS = HostTraits(accelerator=Accelerator.CPU, cpus=2, memory_bytes=2**30)
DEAD = State(running=False, exit_code=139)
WHOLE = ["image", "up", "probe", "warm-up", "u1", "u2", "down"]


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache in which tiny's weights are made already."""
    folder = tmp_path_factory.mktemp("cache")
    workshop.Bench(folder).weights(loader.model("tiny"))
    return folder / "cache"


@dataclass
class Rig:
    """Everything that a run takes, with fakes in it. `give` hands over the load client."""

    folder: RunFolder
    cache_dir: Path
    give: Callable[[Any], None]
    screen: StringIO = field(default_factory=StringIO)
    runtime: FakeRuntime = field(default_factory=FakeRuntime)
    names: tuple[str, ...] = ("one",)
    client: FakeClient | None = None

    def kit(self) -> Kit:
        console = Console(self.screen)
        return Kit(
            runtime=self.runtime,
            backends={name: FakeBackend(name) for name in self.names},
            host=HOST,
            checkout=Checkout(version="0", git_revision=None, git_dirty=False, packages={}),
            cache_dir=self.cache_dir,
            dolly_path=self.cache_dir / "no-dolly",
            token=None,
            console=console,
            interrupts=Interrupts(console.say),
            pace=Pace(poll_s=0.01, before_s=1.0, after_s=1.0),
        )

    def rendered(self, template: Template) -> Plan:
        """A plan whose prompts the client renders."""
        plan = self.plan()
        asked = RequestSpec(dialect=Dialect.OPENAI_COMPLETIONS, template=template)
        groups = tuple(g.model_copy(update={"request": asked}) for g in plan.groups)
        return plan.model_copy(update={"groups": groups})

    def plan(self, users: tuple[int, ...] = (1, 2), **workload: object) -> Plan:
        backends = {name: FakeBackend(name) for name in self.names}
        request = Request(backends=self.names, model="tiny", users=users)
        made = planning.plan(request, backends, TRAITS, RuntimeKind.PROCESS)
        changes = {"ramp_s": 0.2, "duration_s": 0.8, "window_s": 0.2, "warmup_requests": 2, **workload}
        quick = made.groups[0].group.workload.model_copy(update=changes)
        groups = [g.group.model_copy(update={"workload": quick}) for g in made.groups]
        pairs = zip(made.groups, groups, strict=True)
        return made.model_copy(update={"groups": tuple(p.model_copy(update={"group": g}) for p, g in pairs)})

    def run(self, plan: Plan | None = None, **client: Any) -> bool:
        """Run with a FakeClient that is scripted by `client`."""
        self.client = FakeClient(self.runtime.calls, **client)
        self.give(self.client)
        return bench.run(plan or self.plan(), self.kit(), self.folder)

    def result(self, cell_id: str) -> Result:
        found = self.folder.cell(cell_id).stored()
        assert found.result is not None, found.reason
        return found.result

    def failure(self, load: str = "u1", name: str = "one") -> tuple[Phase, FailureCause, str, str]:
        """Phase, cause, message and hint of a cell that failed."""
        failure = self.result(cell(load, name)).failure
        assert failure is not None
        return failure.phase, failure.cause, failure.message, failure.hint

    def events(self) -> list[str]:
        return [
            f"{e['event']} {e.get('phase') or e.get('cell') or e.get('id') or ''}".strip()
            for e in self.folder.read_journal().entries
        ]


def weights_of(cache_dir: Path) -> Path:
    """Of tiny, which lies there."""
    (tokenizer,) = (cache_dir / "models").glob("tiny-*/*/tokenizer.json")
    return tokenizer.parent


def cell(load: str, name: str = "one") -> str:
    return f"{name}-current-tiny-defaults-{load}"


@pytest.fixture
def rig(tmp_path: Path, cache_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Rig:
    folder = RunFolder.create(tmp_path / "runs", "run", {})

    def give(client: object) -> None:
        monkeypatch.setattr(bench, "LoadClient", lambda: client)

    return Rig(folder, cache_dir, give)


def test_everything_happens_in_order(rig: Rig) -> None:
    """Image, up, one real token, warm-up, the loads from small to large, down: all once."""
    assert rig.run()

    assert rig.runtime.calls == WHOLE
    assert [cell("u1"), cell("u2")] == [s.cell_id for s in rig.folder.record().cells]
    assert {Stored.COMPLETE} == {s.state for s in rig.folder.record().cells}


def test_every_load_begins_on_an_engine_that_has_settled(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was cut in one load is not computed within the next."""
    settled: list[list[str]] = []
    monkeypatch.setattr(measure, "settle", lambda _: settled.append(list(rig.runtime.calls)))
    rig.run()

    assert [WHOLE[: WHOLE.index(load)] for load in ("u1", "u2")] == settled


def test_the_journal_tells_it_all(rig: Rig) -> None:
    """Each phase's beginning and end, each cell's end and the run's are noted in order."""
    rig.run()
    phases = ["image", "weights", "gate before", "up", "ready", "warm-up"]
    before = [f"{edge} {p}" for p in phases for edge in ("phase-began", "phase-ended")]
    before.insert(3, "step-ended weights")
    before.insert(6, "gate")

    loads = [
        [
            f"cell-began {cell(u)}",
            f"phase-began measure {u}",
            f"phase-ended measure {u}",
            f"cell-ended {cell(u)}",
        ]
        for u in ("u1", "u2")
    ]
    assert rig.events() == [
        "group-began",
        *before,
        *(event for events in loads for event in events),
        *("phase-began down", "phase-ended down"),
        *("phase-began gate after", "gate", "phase-ended gate after", "group-ended", "run-ended"),
    ]


def test_a_result_says_what_it_came_from(rig: Rig) -> None:
    """Weights, prompts, settings read back, deviations and the times of the phases stand with the figures."""
    rig.runtime = FakeRuntime(log="slots=4\n")
    rig.run()
    result = rig.result(cell("u2"))
    assert result.provenance is not None
    assert result.provenance.weights_digest is not None
    assert result.metrics is not None

    assert 2 == result.metrics.completed
    assert {"slots": "4"} == result.provenance.effective
    assert result.provenance.weights_digest.startswith("sha256:")
    assert "levelbench-own" == result.provenance.prompts_name
    assert "--port" in {d.setting for d in result.provenance.deviations}
    before = {Phase.IMAGE, Phase.WEIGHTS, Phase.GATE, Phase.UP, Phase.READY, Phase.WARMUP}
    assert {*before, Phase.MEASURE} == set(result.phases_s)


def test_no_prompt_is_sent_twice_while_fresh_ones_are_left(rig: Rig) -> None:
    """A load begins with the prompt after the last one of the load before."""
    rig.run()
    assert rig.client is not None
    probe, warm_up, first, second = rig.client.specs

    assert probe.bodies[1].split(b'"max')[0] != warm_up.bodies[1].split(b'"max')[0]
    assert first.bodies[1] == second.bodies[0]


def test_real_load_end_to_end(rig: Rig) -> None:
    """With the real client against a streaming server: figures, samples and a log lie in the cell's folder."""
    rig.give(LoadClient())
    plan = rig.plan(users=(2,))

    assert bench.run(plan, rig.kit(), rig.folder)
    result = rig.result(cell("u2"))
    assert result.metrics is not None
    assert result.metrics.completed > 5
    assert {} == result.metrics.errors
    assert "engine.memory_bytes" in result.telemetry.max
    assert {"exchanges.parquet", "telemetry.parquet", "engine.log", "argv.json", "result.json"} <= {
        p.name for p in rig.folder.cell(cell("u2")).path.iterdir()
    }


def test_prompts_are_rendered_with_the_models_own_template(rig: Rig) -> None:
    """Where the release takes token ids: begin-of-text first, as its tokenizer has it."""
    rig.run(rig.rendered(Template.TOKENS))
    assert rig.client is not None
    words = Tokenizer.from_file(str(weights_of(rig.cache_dir) / "tokenizer.json"))
    first = json.loads(rig.client.specs[0].bodies[0])["prompt"]

    assert words.token_to_id("<|begin_of_text|>") == first[0]
    assert "<|start_header_id|>assistant" in words.decode(first, skip_special_tokens=False)


@pytest.mark.parametrize(("template", "succeeds"), [(Template.MESSAGES, True), (Template.TOKENS, False)])
def test_a_model_without_template_is_one_for_engines_that_render(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, template: Template, succeeds: bool
) -> None:
    """Nothing is started for prompts that cannot be written."""

    def load(*_: object) -> None:
        raise CellError("it has no chat template", cause=FailureCause.MODEL_FILES)

    monkeypatch.setattr(chat_template, "load", load)

    assert succeeds is rig.run(rig.rendered(template))
    if not succeeds:
        assert ["image"] == rig.runtime.calls
        assert (Phase.WEIGHTS, FailureCause.MODEL_FILES, "it has no chat template") == rig.failure()[:3]


STEPS = (
    StepSpec(
        id="convert",
        title="convert the weights",
        argv=("convert", "{model}", "{out}"),
        produces=("*.bin",),
        deadline_s=60,
        output_bytes=1,
    ),
    StepSpec(
        id="build",
        title="build the engine",
        argv=("build", "{step:convert}", "{out}"),
        produces=("*.engine",),
        deadline_s=60,
        output_bytes=1,
    ),
)


@pytest.fixture
def stepped(rig: Rig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Rig:
    """An engine that is built in two steps, with artifacts of the test's own."""
    monkeypatch.setattr(FakeBackend, "makes", STEPS)
    rig.cache_dir = Path(shutil.copytree(rig.cache_dir, tmp_path / "cache"))
    return rig


def test_steps_come_between_weights_and_up(stepped: Rig) -> None:
    """Each has its own line in the ledger; the engine gets what they made."""
    assert stepped.run()

    assert ["image", "run convert", "run build", *WHOLE[1:]] == stepped.runtime.calls
    ledger = [e for e in stepped.events() if "steps" in e or "step-ended" in e]
    assert [
        "step-ended weights",
        *("phase-began steps convert", "step-ended convert", "phase-ended steps convert"),
        *("phase-began steps build", "step-ended build", "phase-ended steps build"),
    ] == ledger
    (spec,) = stepped.runtime.deployed
    assert ["convert", "build"] == list(spec.steps)
    assert (spec.steps["build"] / "engine.engine").exists()


def test_results_tell_what_steps_cost(stepped: Rig) -> None:
    """Also of those that came from the cache: what they had cost when they were made."""
    stepped.run()
    first = stepped.result(cell("u2"))
    stepped.folder = RunFolder.create(stepped.folder.path.parent, "again", {})
    stepped.run()
    second = stepped.result(cell("u2"))

    assert ["weights", "convert", "build"] == [record.id for record in first.steps]
    assert [True, False, False] == [record.cached for record in first.steps]
    assert [True, True, True] == [record.cached for record in second.steps]
    assert [r.wall_s for r in first.steps] == [r.wall_s for r in second.steps]
    assert (1.5, 2**20, 6) == (
        second.steps[1].wall_s,
        second.steps[1].peak_memory_bytes,
        second.steps[1].output_bytes,
    )
    took_s = [
        entry["took_s"]
        for entry in RunFolder.open(stepped.folder.path.parent / "run").read_journal().entries
        if entry["event"] == "phase-ended" and entry["phase"].startswith("steps")
    ]
    assert pytest.approx(sum(took_s)) == first.phases_s[Phase.STEPS]


def test_step_that_fails_fails_the_cells(stepped: Rig) -> None:
    """No engine is started; what the log proves is the cause; what had been made is told."""
    stepped.runtime.jobs["build"] = JobEnd(State(running=False, exit_code=7), 2.0, 1)

    assert not stepped.run()
    assert ["image", "run convert", "run build"] == stepped.runtime.calls
    assert (Phase.STEPS, "step build ended with 7") == (stepped.failure()[0], stepped.failure()[2])
    assert ["weights", "convert"] == [record.id for record in stepped.result(cell("u1")).steps]


def test_image_of_a_step_is_built_first(stepped: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the engine's own, before anything is run."""
    other = FakeBackend("tools").image(FakeBackend().releases[0].builds[0])
    monkeypatch.setattr(FakeBackend, "makes", (STEPS[0].model_copy(update={"image": other}),))
    stepped.run()

    assert ["image", "image", "run convert"] == stepped.runtime.calls[:3]


RESET = PrefixCache(default_on=True, reset_path="/reset")


def test_prefix_cache_is_emptied_between_loads(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before each load after the first; nothing is said of it."""
    monkeypatch.setattr(FakeBackend, "cache", RESET)
    rig.runtime.posts["/reset"] = 200
    posted: list[str] = []
    reset = measure.reset_prefix_cache

    def noted(target: measure.Target) -> str:
        posted.extend(rig.runtime.calls[-1:])
        return reset(target)

    monkeypatch.setattr(measure, "reset_prefix_cache", noted)
    rig.run(rig.plan(users=(1, 2, 3)))

    assert ["u1", "u2"] == posted
    assert [()] * 3 == [rig.result(cell(load)).notes for load in ("u1", "u2", "u3")]


def test_prefix_cache_that_cannot_be_emptied_is_told(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The load is measured all the same; journal and result say what it was measured with."""
    monkeypatch.setattr(FakeBackend, "cache", RESET)
    rig.runtime.posts["/reset"] = 404
    assert rig.run()

    assert () == rig.result(cell("u1")).notes
    assert ("the prefix cache still held the loads before it (POST /reset: 404)",) == rig.result(
        cell("u2")
    ).notes
    assert "prefix-cache-not-reset" in rig.events()


# Every stage fails in turn. In each case: what is recorded, and that nothing stays up.


def test_image_that_cannot_be_built_fails_the_cells(rig: Rig) -> None:
    """Nothing was started, so nothing is taken down; every cell says why."""
    error = CellError("no such package", hint="check the index", log_tail="pip: 404")
    rig.runtime = FakeRuntime(fail={"image": error})

    assert not rig.run()
    assert ["image"] == rig.runtime.calls
    expected = (Phase.IMAGE, FailureCause.UNKNOWN, "no such package", "check the index")
    assert expected == rig.failure("u1") == rig.failure("u2")
    failure = rig.result(cell("u1")).failure
    assert failure is not None
    assert "pip: 404" == failure.log_tail


def test_weights_that_cannot_be_fetched_fail_the_cells(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """No engine is started for weights that are not there."""

    def fetch(*_: object, **__: object) -> Artifact:
        raise CellError("gated", hint="set HF_TOKEN", cause=FailureCause.GATED_MODEL)

    monkeypatch.setattr(steps, "weights", fetch)

    assert not rig.run()
    assert ["image"] == rig.runtime.calls
    assert (Phase.WEIGHTS, FailureCause.GATED_MODEL, "gated", "set HF_TOKEN") == rig.failure()


def test_engine_that_cannot_be_started_fails_the_cells(rig: Rig) -> None:
    """`down` is not called for what never was up."""
    rig.runtime = FakeRuntime(fail={"up": CellError("no such file", hint="see argv")})

    assert not rig.run()
    assert ["image", "up"] == rig.runtime.calls
    assert (Phase.UP, FailureCause.UNKNOWN, "no such file", "see argv") == rig.failure()


def test_host_that_cannot_go_on_ends_the_run(rig: Rig) -> None:
    """A HostError is no cell's failure: the cells stay unfinished, and no other group is begun."""
    rig.names = ("one", "two")
    rig.runtime = FakeRuntime(fail={"up": HostError("port 80 is taken", hint="choose another")})
    with pytest.raises(HostError, match="port 80"):
        rig.run()

    assert ["image", "up"] == rig.runtime.calls
    assert Stored.UNFINISHED is rig.folder.cell(cell("u1")).stored().state
    assert "run-ended" not in rig.events()


def test_engine_that_never_is_ready_fails_the_cells(rig: Rig) -> None:
    """The deadline ends it, the rung on which it stood is told, and it is taken down."""
    rig.runtime = FakeRuntime(gets={"/health": (503, "")}, log="still loading\n")

    assert not rig.run()
    assert ["image", "up", "down"] == rig.runtime.calls
    phase, _, message, _ = rig.failure()
    assert (Phase.READY, "not ready after 0.5 s: health says 503") == (phase, message)
    assert "still loading" in rig.result(cell("u1")).model_dump_json()


def test_engine_that_dies_while_loading_fails_the_cells(rig: Rig) -> None:
    """Exit code, the cause that its log proves, what to do, and its last lines."""
    rig.runtime = FakeRuntime(states=[State(running=False, exit_code=1)], log="no room for KV\n")

    assert not rig.run()
    assert ["image", "up", "down"] == rig.runtime.calls
    message = "the engine died with exit code 1 (memory-kv-cache)"
    assert (Phase.READY, FailureCause.MEMORY_KV_CACHE, message, "take fewer users") == rig.failure()
    failure = rig.result(cell("u2")).failure
    assert failure is not None
    assert "no room for KV" == failure.log_tail


def test_engine_that_answers_with_errors_is_not_measured(rig: Rig) -> None:
    """Healthy is not serving: one real token has to come first."""

    assert not rig.run(gives={"probe": [bad(Outcome.HTTP_STATUS)]})
    assert ["image", "up", "probe", "down"] == rig.runtime.calls
    phase, _, message, hint = rig.failure()
    assert (Phase.READY, "see the engine's log") == (phase, hint)
    assert message.startswith("healthy, but a request got http-status")


def test_warm_up_without_success_fails_the_cells(rig: Rig) -> None:
    """An engine whose every warm-up request fails is not loaded."""

    assert not rig.run(gives={"warm-up": [bad(), bad()]})
    assert ["image", "up", "probe", "warm-up", "down"] == rig.runtime.calls
    assert Phase.WARMUP is rig.failure()[0]


def test_engine_that_dies_in_the_last_moment_of_a_load_is_told(rig: Rig) -> None:
    """A load that the engine did not outlive has no figures, also when no look fell into its last second."""
    rig.runtime = FakeRuntime(log="no room for KV\n")

    def die(_: int) -> None:
        if "u1" in rig.runtime.calls:
            rig.runtime._states = [DEAD]

    rig.runtime._on_state = die

    assert not rig.run()
    assert ["u1", "down"] == rig.runtime.calls[-2:]
    expected = (Phase.MEASURE, FailureCause.MEMORY_KV_CACHE)
    assert expected == rig.failure("u1")[:2] == rig.failure("u2")[:2]


def test_finished_cell_is_never_lost(rig: Rig) -> None:
    """What had ended before the failure stays as it was."""

    assert not rig.run(fail={"u2": CellError("the load client's process died", hint="see above")})
    assert rig.result(cell("u1")).metrics is not None
    assert (Phase.MEASURE, "see above") == (rig.failure("u2")[0], rig.failure("u2")[3])
    assert 1 == rig.runtime.calls.count("down")


def test_engine_that_dies_under_load_is_told_within_seconds(rig: Rig) -> None:
    """The real client is stopped at the next look at the engine's state; the load is not waited out."""
    rig.runtime = FakeRuntime(log="no room for KV\n")
    began: list[bool] = []

    def die(_: int) -> None:
        if any("measure" in event for event in rig.events()):
            if began:
                rig.runtime._states = [DEAD]
            began.append(True)

    rig.runtime._on_state = die
    rig.give(LoadClient())

    assert not bench.run(rig.plan(users=(2,), duration_s=60.0), rig.kit(), rig.folder)
    message = "the engine died with exit code 139 (memory-kv-cache)"
    assert (Phase.MEASURE, message) == (rig.failure("u2")[0], rig.failure("u2")[2])
    assert "down" == rig.runtime.calls[-1]


def hanging_under_load() -> Callable[[Exchange], Any]:
    """Answers short requests; streams one token of a long one and then nothing more."""
    well = steady(tokens=2)

    async def answer(x: Exchange) -> None:
        if x.body["max_tokens"] < 64:
            await well(x)
            return
        await x.head()
        await x.role()
        await x.token("half ")
        await asyncio.sleep(60)

    return answer


def test_engine_that_hangs_mid_stream_ends_in_time_and_is_not_believed(rig: Rig) -> None:
    """Silent streams become stalls; the cell has figures, an invalid verdict, and the engine goes down."""
    rig.runtime = FakeRuntime(hanging_under_load())
    rig.give(LoadClient())
    plan = rig.plan(users=(2,), duration_s=1.8, stall_s=0.4)

    assert not bench.run(plan, rig.kit(), rig.folder)
    result = rig.result(cell("u2"))
    assert result.metrics is not None
    assert result.verdict is not None
    assert Level.INVALID is result.verdict.level
    assert {Outcome.STALL.value} == set(result.metrics.errors)
    assert 1 == rig.runtime.calls.count("down")


@pytest.mark.parametrize(
    "error", [Interrupted("interrupted by SIGINT"), HostError("no disk", hint="free it")]
)
def test_interrupt_and_host_error_under_load_leave_the_cell_unfinished(rig: Rig, error: BenchError) -> None:
    """They end the run after teardown; the finished cell stays, the broken one is no result."""
    with pytest.raises(type(error)):
        rig.run(fail={"u2": error})

    assert WHOLE == rig.runtime.calls
    assert rig.result(cell("u1")).metrics is not None
    broken = rig.folder.cell(cell("u2")).stored()
    assert (Stored.UNFINISHED, "measuring began but did not end") == (broken.state, broken.reason)


def test_fault_of_ours_takes_the_engine_down(rig: Rig) -> None:
    """Also an exception that nobody expected."""
    with pytest.raises(ZeroDivisionError):
        rig.run(fail={"warm-up": ZeroDivisionError()})

    assert "down" == rig.runtime.calls[-1]


def test_telemetry_that_raises_spoils_no_figures(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reading that fails is left out; the cell is measured."""

    def read() -> dict[str, float]:
        raise RuntimeError("no /proc today")

    monkeypatch.setattr(sources, "host_source", lambda: Source("host", read))

    assert rig.run()
    assert rig.result(cell("u2")).metrics is not None


def test_telemetry_that_cannot_be_set_up_ends_the_run(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU that is lost is the host's fault; the engine is taken down."""

    def lost() -> Source:
        raise HostError("the GPU is lost", hint="reboot")

    monkeypatch.setattr(sources, "host_source", lost)
    with pytest.raises(HostError, match="lost"):
        rig.run()

    assert ["image", "up", "probe", "warm-up", "down"] == rig.runtime.calls


def test_teardown_that_cannot_be_proven_ends_the_run(rig: Rig) -> None:
    """Nothing may be measured beside an engine that will not go; `down` is asked once."""
    rig.names = ("one", "two")
    rig.runtime = FakeRuntime(fail={"down": HostError("cannot be killed", hint="kill -9")})
    with pytest.raises(HostError, match="cannot be killed"):
        rig.run()

    assert WHOLE == rig.runtime.calls
    assert rig.result(cell("u2")).metrics is not None


def test_failed_group_does_not_stop_the_next(rig: Rig) -> None:
    """Each backend has its chance; the run tells that not all went well."""
    rig.names = ("one", "two")
    rig.runtime = FakeRuntime(states=[DEAD, ALIVE])

    assert not rig.run()
    assert Phase.READY is rig.failure("u1", "one")[0]
    assert rig.result(cell("u2", "two")).metrics is not None
    assert ["image", "up", "down", *WHOLE] == rig.runtime.calls
    assert {"event": "run-ended", "complete": False}.items() <= rig.folder.read_journal().entries[-1].items()


def test_full_disk_does_not_keep_an_engine_up(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The teardown comes before the note about it."""
    write = RunFolder.journal

    def full(self: RunFolder, event: str, **facts: Any) -> None:
        if facts.get("phase") == "down":
            raise HostError("no space left", hint="free some")
        write(self, event, **facts)

    monkeypatch.setattr(RunFolder, "journal", full)
    with pytest.raises(HostError, match="no space"):
        rig.run()

    assert WHOLE == rig.runtime.calls


class Unlucky(Interrupts):
    """A signal comes in the very moment before the first teardown is protected."""

    def __init__(self) -> None:
        super().__init__(lambda _: None)
        self._entered = 0

    @contextmanager
    def deferred(self, saying: str = "") -> Iterator[None]:
        self._entered += 1
        if self._entered == 2:  # the first protects `up`
            raise Interrupted("interrupted by SIGINT")
        with super().deferred(saying):
            yield


def test_signal_right_before_the_teardown_does_not_skip_it(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Signals are raised once, so the second, outer attempt goes through."""
    monkeypatch.setattr(sys.modules[__name__], "Interrupts", lambda _: Unlucky())
    with pytest.raises(Interrupted):
        rig.run()

    assert WHOLE == rig.runtime.calls


def test_signal_while_an_engine_comes_up_takes_it_down(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """What has been started is known before the run ends."""
    up = FakeRuntime.up

    def interrupted(self: FakeRuntime, spec: DeploymentSpec) -> Deployment:
        deployment = up(self, spec)
        signal.raise_signal(signal.SIGTERM)
        return deployment

    monkeypatch.setattr(FakeRuntime, "up", interrupted)
    kit = rig.kit()
    with kit.interrupts.installed(), pytest.raises(Interrupted):
        bench.run(rig.plan(), kit, rig.folder)

    assert ["image", "up", "down"] == rig.runtime.calls


# A real SIGINT to a real process.


@contextmanager
def running_bench(tmp_path: Path, *, slow_down_s: float) -> Iterator[subprocess.Popen[str]]:
    """`levelbench bench` with a fake runtime, up to its first measurement."""
    argv = [sys.executable, "-m", "tests.fakes.bench_program", str(tmp_path), str(slow_down_s)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        argv,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            until(process, "measure u2 ...")
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def until(process: subprocess.Popen[str], text: str) -> str:
    """Its output up to the line with that text."""
    assert process.stdout is not None
    seen = ""
    for line in process.stdout:
        seen += line
        if text in line:
            return seen
    raise AssertionError(f"{text!r} never came:\n{seen}")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_the_run_with_130_after_the_teardown(tmp_path: Path, number: signal.Signals) -> None:
    """A terminal's Ctrl-C reaches the whole group, the load client too; the engine still goes down."""
    with running_bench(tmp_path, slow_down_s=0.0) as process:
        os.killpg(process.pid, number)
        output = process.communicate(timeout=20)[0]

    assert "fake down ended" in output
    assert 130 == process.returncode
    assert f"error: interrupted by {number.name}" in output
    assert "Traceback" not in output
    (report,) = tmp_path.glob("runs/2*/report.md")
    assert "measuring began but did not end" in report.read_text()


def test_second_signal_during_a_slow_teardown_does_not_skip_it(tmp_path: Path) -> None:
    """It is answered with words; the exit code is the first one's."""
    with running_bench(tmp_path, slow_down_s=1.0) as process:
        os.killpg(process.pid, signal.SIGINT)
        before = until(process, "fake down began")
        os.killpg(process.pid, signal.SIGINT)
        after = process.communicate(timeout=20)[0]

    assert "fake down ended" not in before
    assert "will not be skipped" in after
    assert "fake down ended" in after
    assert 130 == process.returncode
