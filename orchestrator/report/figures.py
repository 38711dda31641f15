"""The columns that every table of results is made of, each figure with its mark."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from orchestrator.domain.metrics import Metrics
from orchestrator.domain.reasons import Level
from orchestrator.domain.request import Slo
from orchestrator.domain.result import Result
from orchestrator.report import layout, units

MARKS = {Level.VALID: "", Level.SUSPECT: "?", Level.INVALID: "!"}

GPU_UTILISATION = "utilisation_percent"
GPU_POWER = "power_w"
CPU_CORES = "engine.cpu_cores"
MEMORY = "engine.memory_bytes"


@dataclass(frozen=True, slots=True)
class Column:
    """A heading with its unit, and how to get the text from a result that has metrics."""

    title: str
    text: Callable[[Result, Metrics], str]

    def figure(self, result: Result | None) -> str:
        """The figure with its mark; a dash where there is none."""
        if result is None or result.metrics is None:
            return units.NOTHING
        return marked(self.text(result, result.metrics), level(result))


def level(result: Result) -> Level:
    """A result without a verdict was never judged: nobody may rely on it."""
    return result.verdict.level if result.verdict else Level.INVALID


def marked(text: str, of: Level) -> str:
    """A figure of that level. What is no figure (a dash, `n<100`) needs no mark."""
    return text if text == units.NOTHING or text.startswith("n<") else text + MARKS[of]


def worse(one: Level, other: Level) -> Level:
    """The level of a figure that is made from two."""
    order = (Level.VALID, Level.SUSPECT, Level.INVALID)
    return max(one, other, key=order.index)


def headline(results: Sequence[Result]) -> tuple[Column, ...]:
    """The columns of the first table: those about GPUs only where there are any, goodput where limits were given."""
    with_gpu = any(gpu_busy_share(r) is not None or gpu_power_w(r) is not None for r in results)
    with_slo = any(r.metrics is not None and r.metrics.slo is not None for r in results)
    return (*ESSENTIAL, *LATENCIES, *((GOODPUT,) if with_slo else ()), *COST, *(GPU if with_gpu else ()))


def gpu_busy_share(result: Result) -> float | None:
    """How much of the time the GPUs computed, on average over them."""
    each = _gpu(result, GPU_UTILISATION)
    return sum(each) / len(each) / 100 if each else None


def gpu_power_w(result: Result) -> float | None:
    """What the GPUs drew together."""
    each = _gpu(result, GPU_POWER)
    return sum(each) if each else None


def limits(slo: Slo) -> str:
    """What a request must keep to count as good."""
    known = (("TTFT", slo.ttft_s), ("time per output token", slo.tpot_s), ("latency", slo.latency_s))
    return layout.joined([f"{title} {units.ms(limit)} ms" for title, limit in known if limit is not None])


def _user_rate(result: Result, m: Metrics) -> str:
    """In an open loop there are no users."""
    if result.cell.load.arrivals is not None:
        return units.NOTHING
    return units.number(m.tokens_per_s / result.cell.load.users)


def _errors(_: Result, m: Metrics) -> str:
    failures = sum(m.errors.values())
    return f"{failures:,} ({units.percent(m.error_share)})" if failures else "0"


def _good(m: Metrics) -> str:
    """Requests that kept every limit, and their share of those that ended."""
    if m.goodput_per_s is None:
        return units.NOTHING
    ended = (m.completed + sum(m.errors.values())) / m.steady_length_s if m.steady_length_s else 0.0
    share = f" ({units.percent(m.goodput_per_s / ended)})" if ended else ""
    return f"{units.number(m.goodput_per_s)}{share}"


def _sources(m: Metrics) -> str:
    return layout.joined([f"{n:,} {source}" for source, n in m.tokens_from.items()]) or units.NOTHING


def _gpu(result: Result, name: str) -> list[float]:
    means = result.telemetry.mean.items()
    return [v for series, v in means if series.startswith("gpu") and series.partition(".")[2] == name]


TOKEN_RATE = Column("tok/s", lambda _, m: units.number(m.tokens_per_s))
TTFT_MEAN = Column("TTFT mean (ms)", lambda _, m: units.ms(m.ttft_s.mean))
TTFT_P50 = Column("TTFT p50 (ms)", lambda _, m: units.percentile(m.ttft_s, 50, units.ms))
TTFT_P95 = Column("TTFT p95 (ms)", lambda _, m: units.percentile(m.ttft_s, 95, units.ms))
TTFT_P99 = Column("TTFT p99 (ms)", lambda _, m: units.percentile(m.ttft_s, 99, units.ms))
ERRORS = Column("errors", _errors)
GOODPUT = Column("within limits (requests/s)", lambda _, m: _good(m))

ESSENTIAL = (
    TOKEN_RATE,
    Column("tok/s per user", _user_rate),
    TTFT_MEAN,
    TTFT_P50,
    TTFT_P95,
    TTFT_P99,
)
LATENCIES = (
    Column("ITL p50 (ms)", lambda _, m: units.percentile(m.itl_s, 50, units.ms)),
    Column("ITL p95 (ms)", lambda _, m: units.percentile(m.itl_s, 95, units.ms)),
    Column("requests/s", lambda _, m: units.number(m.requests_per_s)),
)
COST = (
    ERRORS,
    Column("output mean (tokens)", lambda _, m: units.number(m.output_tokens.mean)),
    Column("CPU (cores)", lambda r, _: units.number(r.telemetry.mean.get(CPU_CORES))),
    Column("memory max", lambda r, _: units.size(r.telemetry.max.get(MEMORY))),
)
GPU = (
    Column("GPU busy", lambda r, _: units.percent(gpu_busy_share(r))),
    Column("GPU power (W)", lambda r, _: units.number(gpu_power_w(r))),
)

RATE_BOUNDS = Column("tok/s, 95 %", lambda _, m: units.bounds(m.tokens_per_s_bounds))
CERTAINTY = (
    TOKEN_RATE,
    RATE_BOUNDS,
    TTFT_MEAN,
    Column("TTFT mean, 95 % (ms)", lambda _, m: units.bounds(m.ttft_s_bounds.mean, units.ms)),
    Column("p50, 95 %", lambda _, m: units.bounds(m.ttft_s_bounds.p50, units.ms)),
    Column("p95, 95 %", lambda _, m: units.bounds(m.ttft_s_bounds.p95, units.ms)),
    Column("p99, 95 %", lambda _, m: units.bounds(m.ttft_s_bounds.p99, units.ms)),
    Column("TTFT n", lambda _, m: f"{m.ttft_s.n:,}"),
    Column("failed", lambda _, m: f"{m.ttft_s.failed:,}"),
    Column("p95 with failed", lambda _, m: units.percentile_with_failures(m.ttft_s, 95, units.ms)),
    Column("p99 with failed", lambda _, m: units.percentile_with_failures(m.ttft_s, 99, units.ms)),
)

FAIRNESS = (
    Column("prompt mean (tokens)", lambda _, m: units.number(m.prompt_tokens.mean)),
    Column("output mean (tokens)", lambda _, m: units.number(m.output_tokens.mean)),
    Column("output p50 (tokens)", lambda _, m: units.percentile(m.output_tokens, 50)),
    Column("output max (tokens)", lambda _, m: units.number(m.output_tokens.max)),
    Column("tokens per event", lambda _, m: units.number(m.tokens_per_event)),
    Column("tokens from", lambda _, m: _sources(m)),
    Column("completed", lambda _, m: f"{m.completed:,}"),
    Column("cut at the end", lambda _, m: f"{m.cut:,}"),
    Column("in flight mean", lambda _, m: units.number(m.active_users_mean)),
    Column("load client (of a core)", lambda _, m: units.percent(m.client_cpu_share)),
)
