"""Probe, warm-up, load and settling, with a client that hands back made exchanges."""

from __future__ import annotations

import dataclasses
from io import StringIO
from pathlib import Path

import pytest

from backends.contract import Dialect, FailureCause, FailureSignature, Gauge, MetricsMap, RequestSpec
from orchestrator import measure
from orchestrator.catalog import loader
from orchestrator.catalog.prompts import PromptSet
from orchestrator.console import Console
from orchestrator.domain.cell import Cell, Load, RuntimeKind
from orchestrator.domain.exchange import Exchange, Outcome
from orchestrator.domain.prompt import Prompt
from orchestrator.domain.workload import Sampling, SystemPrompt
from orchestrator.errors import CellError
from orchestrator.load.draw import Draw
from orchestrator.measure import Deployed, Target
from orchestrator.planning import Request, plan
from orchestrator.runtime.interface import Deployment, State
from tests.domain import made
from tests.fakes.backend import FakeBackend
from tests.fakes.client import FakeClient, bad, good
from tests.fakes.engine import FakeEngine, steady
from tests.fakes.runtime import FakeRuntime
from tests.test_planning import CPU

METRICS = MetricsMap(path="/metrics", names={Gauge.RUNNING: "running", Gauge.WAITING: "waiting"})
SIGNATURES = (FailureSignature(pattern="oom", cause=FailureCause.MEMORY_WEIGHTS, hint="take a smaller one"),)


class Clock:
    """Time that passes only by sleeping."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now_s += seconds


def target(
    tmp_path: Path,
    client: FakeClient | None = None,
    *,
    runtime: FakeRuntime | None = None,
    metrics: MetricsMap | None = None,
    port: int = 9,
    clock: Clock | None = None,
) -> Target:
    log_path = tmp_path / "engine.log"
    log_path.write_text("the last words\n")
    time = clock or Clock()
    prompts = PromptSet(name="own", digest="0", prompts=tuple(map(Prompt.of, "abc")))
    chat = Dialect.OPENAI_CHAT
    deployment = Deployment("d", "1", "127.0.0.1", port, (), {}, log_path, 0.0, RuntimeKind.PROCESS)
    return Target(
        engine=Deployed(runtime or FakeRuntime(), deployment, SIGNATURES),
        client=client or FakeClient(),  # type: ignore[arg-type]
        draw=Draw(prompts, "be brief", RequestSpec(dialect=chat), "tiny", Sampling(max_tokens=64), 1),
        metrics=metrics,
        clock=time,
        sleep=time.sleep,
    )


def cell(users: int = 2) -> Cell:
    request = Request(backends=("fake",), model="tiny", users=(users,))
    group = plan(request, {"fake": FakeBackend()}, CPU, RuntimeKind.PROCESS).groups[0].group
    return Cell(group=group, load=Load(users=users, system_prompt=SystemPrompt.WITHOUT))


def empty() -> Exchange:
    """An answer that ended before its first token."""
    return made.exchange(0.0, (), end_s=0.1)


def test_probe_asks_for_one_short_answer(tmp_path: Path) -> None:
    """One request, one user, a few tokens, and a prompt that no load will use."""
    client = FakeClient()
    t = target(tmp_path, client)
    measure.probe(t)
    (spec,) = client.specs

    assert ("probe", 1, 1, 60.0, 120.0) == (spec.tag, spec.requests, spec.users, spec.stall_s, spec.request_s)
    assert b'"max_tokens":4' in spec.bodies[0].replace(b" ", b"")
    assert 1 == t.draw.at


def test_probe_asks_again_after_an_answer_without_token(tmp_path: Path) -> None:
    """Random weights may end at once; three times in a row prove something."""
    client = FakeClient(gives={"probe": [empty()]})
    with pytest.raises(CellError, match="a request got ok: no token") as caught:
        measure.probe(target(tmp_path, client))

    assert ["probe"] * 3 == client.calls
    assert "the last words" == caught.value.log_tail


def test_probe_does_not_ask_again_after_a_failure(tmp_path: Path) -> None:
    """An error is an answer."""
    client = FakeClient(gives={"probe": [bad(Outcome.STALL)]})
    with pytest.raises(CellError, match="healthy, but a request got stall"):
        measure.probe(target(tmp_path, client))

    assert ["probe"] == client.calls


@pytest.mark.parametrize(("requests", "users"), [(2, 2), (20, 4)])
def test_warm_up_sends_the_workloads_number_of_requests(tmp_path: Path, requests: int, users: int) -> None:
    """With no more than four users and 32 tokens."""
    client = FakeClient()
    workload = loader.workload("short").model_copy(update={"warmup_requests": requests})
    measure.warm_up(target(tmp_path, client), workload)
    (spec,) = client.specs

    assert (requests, users, workload.stall_s) == (spec.requests, spec.users, spec.stall_s)
    assert b'"max_tokens":32' in spec.bodies[0].replace(b" ", b"")


def test_warm_up_needs_one_success(tmp_path: Path) -> None:
    """One of several is enough; none is the cell's failure, told with what came instead."""
    workload = loader.workload("short")
    measure.warm_up(target(tmp_path, FakeClient(gives={"warm-up": [bad(), good()]})), workload)
    with pytest.raises(CellError, match="no warm-up request succeeded"):
        measure.warm_up(target(tmp_path, FakeClient(gives={"warm-up": [bad(), bad()]})), workload)


def test_load_is_the_workloads(tmp_path: Path) -> None:
    """Users, ramp, length, think time and limits go to the client as they stand in the catalogue."""
    client = FakeClient()
    loaded = measure.load(target(tmp_path, client), cell(), Console(StringIO()))
    (spec,) = client.specs
    short = loader.workload("short")

    assert ("u2", 2, "/v1/chat/completions") == (spec.tag, spec.users, spec.path)
    assert (short.ramp_s, short.length_s, short.think_s) == (spec.ramp_s, spec.length_s, spec.think_s)
    assert (short.stall_s, short.request_s, None) == (spec.stall_s, spec.request_s, spec.requests)
    assert round(short.ramp_s * 1e9) == loaded.span.steady_ns - loaded.span.start_ns
    assert 2 == len(loaded.record.exchanges)
    length_s = (loaded.record.end_ns - loaded.record.start_ns) / 1e9
    assert loaded.metrics.client_cpu_share == pytest.approx(loaded.record.client_cpu_s / length_s)


def test_each_exchange_knows_how_long_its_prompt_should_have_been(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its place in the draw, so that the engine's own count can be held against it."""
    monkeypatch.setattr(Draw, "prompt_tokens", lambda *_: (5, None, 7))
    sent = [dataclasses.replace(good(), prompt=i) for i in (2, 1, 0)]
    loaded = measure.load(target(tmp_path, FakeClient(gives={"u2": sent})), cell(), Console(StringIO()))

    assert [7, None, 5] == [x.expected_prompt_tokens for x in loaded.record.exchanges]


def test_live_figures_are_shown(tmp_path: Path) -> None:
    """The screen gets what the client says while it runs."""
    screen = StringIO()
    measure.load(target(tmp_path), cell(), Console(screen))

    assert "users 2/2  requests 1" in screen.getvalue()


def test_dead_engine_is_told_after_a_stretch(tmp_path: Path) -> None:
    """Also when it died after the last look."""
    runtime = FakeRuntime(states=[State(running=True), State(running=False, exit_code=1)])
    with pytest.raises(CellError, match="died with exit code 1"):
        measure.probe(target(tmp_path, runtime=runtime))


def test_life_is_looked_at_once_a_second(tmp_path: Path) -> None:
    """However often the client asks."""
    asked: list[int] = []
    clock = Clock()
    t = target(tmp_path, runtime=FakeRuntime(on_state=asked.append), clock=clock)
    for _ in range(30):
        t.alive()
        clock.now_s += 0.1

    assert 3 == len(asked)


def test_settle_without_metrics_waits_for_nothing(tmp_path: Path) -> None:
    """An engine that cannot tell is not waited for."""
    clock = Clock()
    measure.settle(target(tmp_path, clock=clock))

    assert [] == clock.slept


def test_settle_waits_until_the_engine_has_let_go(tmp_path: Path) -> None:
    """Requests that were cut may still be computed for a moment."""
    clock = Clock()
    with FakeEngine(steady(), gets={"/metrics": (200, "running 1\nwaiting 0\n")}) as engine:

        def let_go(asked: int) -> None:
            engine.set_get("/metrics", 200, "running 0\nwaiting 0\n")

        runtime = FakeRuntime(on_state=let_go)
        t = target(tmp_path, runtime=runtime, metrics=METRICS, port=engine.port, clock=clock)
        t._looked_s = clock.now_s  # looked at just now: so the first reading comes before let_go
        measure.settle(t)

    assert 4 == len(clock.slept)


@pytest.mark.parametrize("page", ["running 0\nwaiting 1\n", "not a page {"])
def test_settle_gives_up_after_ten_seconds(tmp_path: Path, page: str) -> None:
    """A queue that never empties, or a page that cannot be read, does not stop the run."""
    clock = Clock()
    with FakeEngine(steady(), gets={"/metrics": (200, page)}) as engine:
        measure.settle(target(tmp_path, metrics=METRICS, port=engine.port, clock=clock))

    assert 10.0 == sum(clock.slept)


def test_settle_notices_a_dead_engine(tmp_path: Path) -> None:
    """It does not wait ten seconds for one."""
    clock = Clock()
    runtime = FakeRuntime(states=[State(running=False, exit_code=137)])
    with pytest.raises(CellError, match="exit code 137"):
        measure.settle(target(tmp_path, runtime=runtime, metrics=METRICS, clock=clock))

    assert 1 == len(clock.slept)


def test_prefix_cache_is_reset_by_a_post(tmp_path: Path) -> None:
    """Where the adapter names a path; nothing to tell then."""
    with FakeEngine(steady(), posts={"/reset": 200}) as engine:
        t = target(tmp_path, port=engine.port)
        assert "" == measure.reset_prefix_cache(t)
        assert [] == engine.posted
        t.reset_path = "/reset"
        assert "" == measure.reset_prefix_cache(t)

    assert ["/reset"] == engine.posted


@pytest.mark.parametrize(("status", "said"), [(400, "POST /reset: 400"), (302, "POST /reset: 302")])
def test_reset_that_is_refused_says_so(tmp_path: Path, status: int, said: str) -> None:
    """With the engine's own status."""
    with FakeEngine(steady(), posts={"/reset": status}) as engine:
        t = target(tmp_path, port=engine.port)
        t.reset_path = "/reset"
        assert said == measure.reset_prefix_cache(t)


def test_reset_of_an_engine_that_is_gone_says_so(tmp_path: Path) -> None:
    """It is no reason to end here: the next look at the engine's state will tell."""
    t = target(tmp_path)
    t.reset_path = "/reset"

    assert measure.reset_prefix_cache(t).startswith("POST /reset: ConnectError")


def test_an_engines_own_pages_are_asked_past_a_serving_layer(tmp_path: Path) -> None:
    """Its cache and its figures are on its own port; requests go to the layer's."""
    with FakeEngine(steady(), posts={"/reset": 200}) as engine:
        t = target(tmp_path)
        assert isinstance(t.engine, Deployed)
        behind = dataclasses.replace(t.engine.deployment, engine_port=engine.port)
        t.engine = dataclasses.replace(t.engine, deployment=behind)
        t.reset_path = "/reset"
        assert "" == measure.reset_prefix_cache(t)

    assert 9 == t.engine.port
    assert ["/reset"] == engine.posted


def test_plain_text_is_counted_by_the_tokenizer(tmp_path: Path) -> None:
    """Where the wire shape states no count, also of an answer that was cut; elsewhere such a one is left alone."""
    answer = dataclasses.replace(good(), text="abc", completion_tokens=None, outcome=Outcome.CUT)
    for dialect, counted in ((Dialect.RAW_TEXT, 3), (Dialect.OPENAI_CHAT, None)):
        t = target(tmp_path, FakeClient(gives={"u2": [answer]}))
        t.draw = dataclasses.replace(
            t.draw, request=RequestSpec(dialect=dialect), encode=lambda text: range(len(text))
        )
        loaded = measure.load(t, cell(), Console(StringIO()))
        assert [counted] == [x.text_tokens for x in loaded.record.exchanges]
