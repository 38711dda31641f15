"""What is sent to a live engine: the probe, the warm-up, and a cell's load with its judgement."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import httpx

from backends.contract import FailureCause, FailureSignature, Gauge, MetricsMap
from orchestrator import literal
from orchestrator.console import Console
from orchestrator.domain.article import Article, article
from orchestrator.domain.canary import COMPARED_TOKENS, MIN_CANARY_PROMPTS, Compared, compared, references
from orchestrator.domain.cell import Cell, Load
from orchestrator.domain.exchange import Exchange, Outcome
from orchestrator.domain.metrics import Asked, ClientSide, Metrics, summarise
from orchestrator.domain.telemetry import Sample
from orchestrator.domain.windows import Span
from orchestrator.domain.workload import SystemPrompt, Workload
from orchestrator.errors import CellError
from orchestrator.host.prometheus import scrape
from orchestrator.host.telemetry import ReadingError
from orchestrator.limits import TokenWatch, no_tokens_s
from orchestrator.load.client import Live, LoadClient, Record
from orchestrator.load.dialects import path, uncounted
from orchestrator.load.draw import Draw, Drawn
from orchestrator.load.mix import Mixed, mix
from orchestrator.load.schedule import asked_per_s, length_s, schedule
from orchestrator.load.spec import LoadSpec
from orchestrator.ready import require_alive, tail
from orchestrator.recount import recounted
from orchestrator.runtime.interface import Deployment, Runtime
from orchestrator.store.runs import utc_now

WATCH_EVERY_S = 1.0
PROBE_TRIES = 3
PROBE_STALL_S = 60.0
PROBE_TOKENS = 4
WARMUP_USERS = 4
WARMUP_TOKENS = 32
SETTLE_S = 10.0
SETTLE_POLL_S = 0.25
RESET_S = 30.0
ONE_USER = Load(users=1, system_prompt=SystemPrompt.WITHOUT)


class Engine(Protocol):
    """What is measured, as measuring sees it: a deployment of ours, or an endpoint that was up already."""

    @property
    def host(self) -> str: ...

    @property
    def port(self) -> int: ...

    @property
    def url(self) -> str: ...

    @property
    def own_url(self) -> str:
        """Where its own pages are, also where a serving layer stands before it."""

    def require_alive(self) -> None:
        """CellError when it is known to be dead."""

    def last_words(self) -> str:
        """The end of its log; empty where there is none to read."""


@dataclass(frozen=True, slots=True)
class Deployed:
    """A deployment of ours as an Engine."""

    runtime: Runtime
    deployment: Deployment
    signatures: tuple[FailureSignature, ...]

    @property
    def host(self) -> str:
        return self.deployment.host

    @property
    def port(self) -> int:
        return self.deployment.port

    @property
    def url(self) -> str:
        return self.deployment.url

    @property
    def own_url(self) -> str:
        return self.deployment.engine.url

    def require_alive(self) -> None:
        require_alive(self.runtime, self.deployment, self.signatures)

    def last_words(self) -> str:
        return tail(self.deployment.log_path)


@dataclass(slots=True)
class Target:
    """A live engine and what drives it. While a load runs, its life is checked once a second."""

    engine: Engine
    client: LoadClient
    draw: Draw
    metrics: MetricsMap | None = None
    reset_path: str | None = None
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    health_path: str | None = None
    references: dict[SystemPrompt, dict[int, str]] = field(default_factory=dict)
    _looked_s: float = 0.0

    def alive(self) -> None:
        """CellError once the engine is dead; looks at most once a second."""
        now_s = self.clock()
        if now_s - self._looked_s >= WATCH_EVERY_S:
            self._looked_s = now_s
            self.engine.require_alive()

    def send(
        self,
        spec: LoadSpec,
        on_live: Callable[[Live], None] = lambda _: None,
        stop: Callable[[], bool] = lambda: False,
    ) -> Record:
        """Run one stretch of load, until `stop` says so at the latest. CellError when the engine did not outlive it, also when it died in the last second."""
        dialect = self.draw.request.dialect
        record = self.client.run(spec, dialect, on_live=on_live, watch=self.alive, stop=stop)
        self.engine.require_alive()
        return record

    def sent(self, spec: LoadSpec) -> list[Exchange]:
        """Send a few requests and note which prompts are used up."""
        exchanges = self.send(spec).exchanges
        self.draw.drawn(x.prompt for x in exchanges)
        return exchanges


def probe(target: Target) -> None:
    """One real token, streamed, or a CellError that says what came instead.

    An engine may well end an answer before its first token; only three such answers in a row prove
    anything.
    """
    last: Exchange | None = None
    for _ in range(PROBE_TRIES):
        spec = _counted(target, "probe", requests=1, users=1, tokens=PROBE_TOKENS, stall_s=PROBE_STALL_S)
        (last,) = target.sent(spec)
        if last.first_token_ns and last.outcome is Outcome.OK:
            return
        if last.outcome.failed:
            break
    said = "no token" if last is None else f"{last.outcome.value}: {last.detail or 'no token'}"
    silent = last is None or last.outcome in (Outcome.OK, Outcome.STALL, Outcome.EMPTY)
    raise CellError(
        f"healthy, but a request got {said}",
        hint="see the engine's log",
        cause=FailureCause.NO_TOKENS if silent else FailureCause.UNKNOWN,
        log_tail=target.engine.last_words(),
    )


def warm_up(target: Target, workload: Workload) -> None:
    """A few requests with prompts of their own; CellError when none of them succeeds."""
    users = min(WARMUP_USERS, workload.warmup_requests)
    spec = _counted(
        target,
        "warm-up",
        requests=workload.warmup_requests,
        users=users,
        tokens=WARMUP_TOKENS,
        stall_s=workload.stall_s,
    )
    exchanges = target.sent(spec)
    if not any(x.outcome is Outcome.OK for x in exchanges):
        details = sorted({x.detail for x in exchanges if x.detail})
        raise CellError(
            f"no warm-up request succeeded: {'; '.join(details[:3])}",
            hint="see the engine's log",
            log_tail=target.engine.last_words(),
        )


def ask_canaries(target: Target, workload: Workload) -> None:
    """Note what a single user is answered to the canaries, asked twice."""
    for system_prompt in workload.system_prompts:
        target.references[system_prompt] = _asked_twice(target, system_prompt, workload.stall_s)


def _asked_twice(target: Target, system_prompt: SystemPrompt, stall_s: float) -> dict[int, str]:
    load = ONE_USER.model_copy(update={"system_prompt": system_prompt})
    bodies = target.draw.canaries(load, max_tokens=COMPARED_TOKENS)
    if not bodies:
        return {}
    few = _counted(target, "canary", requests=len(bodies), users=1, tokens=1, stall_s=stall_s)
    asked = [target.send(replace(few, bodies=bodies)).exchanges for _ in range(2)]
    return references(*([replace(x, canary=x.prompt) for x in exchanges] for exchanges in asked))


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a cell's load came to. `canaries` is None where nobody looked. `asked_per_s`: how many requests an open loop was to send a second of steady. `notes`: what a
    reader must know of it besides."""

    cell: Cell
    record: Record
    metrics: Metrics
    span: Span
    started_at: str
    canaries: Compared | None
    article: Article | None
    asked_per_s: float | None
    notes: tuple[str, ...]

    def during(self, samples: Sequence[Sample]) -> list[Sample]:
        """Those that were read while it ran."""
        return [s for s in samples if self.span.start_ns <= s.t_ns <= self.span.end_ns]


def load(target: Target, cell: Cell, console: Console, *, stop: Callable[[], bool] = lambda: False) -> Loaded:
    """The cell's load, and what it came to; `stop` may end it early."""
    workload, users = cell.group.workload, cell.load.users
    is_open = cell.load.arrivals is not None
    known = target.references.get(cell.load.system_prompt, {})
    if len(known) < MIN_CANARY_PROMPTS:
        known = {}
    pings_s = literal.pings_s(target.engine.url, target.health_path) if workload.as_article else ()
    mixed = mix(
        target.draw.bodies(cell.load), target.draw.turns, target.draw.canaries(cell.load) if known else ()
    )
    due = schedule(cell.load, workload, mixed, target.draw.times_s)
    spec = LoadSpec(
        tag=cell.load.id,
        host=target.engine.host,
        port=target.engine.port,
        path=path(target.draw.request),
        users=users,
        ramp_s=workload.ramp_s,
        bodies=mixed.bodies,
        turns=mixed.turns,
        length_s=length_s(workload, due),
        due_ns=due,
        think_s=workload.think_s,
        stall_s=workload.stall_s,
        request_s=workload.request_s,
    )
    expected = target.draw.prompt_tokens(cell.load)
    started_at = utc_now()
    tokens = TokenWatch(no_tokens_s(workload), target.engine.last_words)

    def hear(live: Live) -> None:
        console.show(cell.load, spec.length_s, live)
        tokens.hear(live)

    record = target.send(spec, hear, stop)
    drawn = target.draw.drawn(mixed.drawn([x.prompt for x in record.exchanges]))
    exchanges = _known(record.exchanges, mixed, expected)
    if target.draw.encode is not None:
        stated = not uncounted(target.draw.request.dialect)
        exchanges = recounted(exchanges, target.draw.encode, stated=stated)
        if workload.as_article:
            exchanges = literal.counted(exchanges, target.draw.encode)
    record = replace(record, exchanges=exchanges)
    span = Span(
        start_ns=record.start_ns,
        steady_ns=record.start_ns + round(workload.ramp_s * 1e9),
        end_ns=record.end_ns,
    )
    metrics = summarise(
        record.exchanges,
        span,
        window_s=workload.window_s,
        asked=Asked(users=None if is_open else users, think_s=workload.think_s, slo=workload.slo),
        client=ClientSide(
            cpu_s=record.client_cpu_s,
            late_s=record.client_late_s,
            realtime=record.client_realtime,
            awake=record.client_awake,
            clock_steps=record.clock_steps,
        ),
    )
    return Loaded(
        cell,
        record,
        metrics,
        span,
        started_at,
        compared(exchanges, known) if known else None,
        article(exchanges, span, metrics, pings_s) if workload.as_article else None,
        asked_per_s(due, metrics.steady_start_s, metrics.steady_length_s),
        tuple(_notes(spec, record, drawn)),
    )


def _notes(spec: LoadSpec, record: Record, drawn: Drawn) -> Iterator[str]:
    if drawn.again:
        yield f"{drawn.again:,} of {drawn.count:,} prompts had been sent before: the set has {drawn.of:,}"
    if record.held:
        yield f"{record.held:,} requests were due while {spec.users:,} were in flight, the most there may be: they waited"


def _known(
    exchanges: Sequence[Exchange], mixed: Mixed, prompt_tokens: Sequence[int | None]
) -> list[Exchange]:
    """With the length that each prompt should have had, which the engine's own count is held against, and what
    is a canary."""
    return [
        replace(
            x,
            canary=mixed.canaries[x.prompt],
            expected_prompt_tokens=None
            if (place := mixed.places[x.prompt]) is None
            else prompt_tokens[place],
            prompt=-1 if place is None else place,
        )
        for x in exchanges
    ]


def settle(target: Target) -> None:
    """Wait until the engine has let go of the requests that were cut, as far as it can tell."""
    busy = target.metrics is not None
    until_s = target.clock() + SETTLE_S
    while busy and target.clock() < until_s:
        target.sleep(SETTLE_POLL_S)
        target.alive()
        busy = _busy(target)


def reset_prefix_cache(target: Target) -> str:
    """Empty the engine's prefix cache, where it has a way to: each load then begins as the first did. Why it
    could not be emptied, or nothing."""
    if target.reset_path is None:
        return ""
    try:
        reply = httpx.post(target.engine.own_url + target.reset_path, timeout=RESET_S, trust_env=False)
    except httpx.HTTPError as error:
        return f"POST {target.reset_path}: {type(error).__name__}: {error}"
    return "" if reply.is_success else f"POST {target.reset_path}: {reply.status_code}"


def _busy(target: Target) -> bool:
    if target.metrics is None:
        return False
    try:
        values = scrape(target.engine.own_url, target.metrics)
    except ReadingError:
        return True
    gauges = (f"metrics.{g.value}" for g in (Gauge.RUNNING, Gauge.WAITING))
    return any(values.get(name, 0) > 0 for name in gauges)


def _counted(target: Target, tag: str, *, requests: int, users: int, tokens: int, stall_s: float) -> LoadSpec:
    return LoadSpec(
        tag=tag,
        host=target.engine.host,
        port=target.engine.port,
        path=path(target.draw.request),
        users=users,
        ramp_s=0.0,
        bodies=target.draw.bodies(ONE_USER, max_tokens=tokens),
        requests=requests,
        stall_s=stall_s,
        request_s=stall_s * 2,
    )
