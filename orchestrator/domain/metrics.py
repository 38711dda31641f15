"""Exchanges -> figures. Pure arithmetic; seconds in and out. Definitions: docs/metrics.md.

The headline comes from the steady window: from the end of the ramp to the end of measuring. A latency
belongs to the window in which its exchange began or ended (said at each), a token to the one in which
it arrived.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import ceil

import numpy as np
import numpy.typing as npt

from backends.contract import Value
from orchestrator.domain.exchange import Exchange, Outcome

Floats = npt.NDArray[np.float64]

# A percentile is printed only where n supports it: about five samples must lie beyond it.
MIN_SAMPLES = {50: 10, 95: 100, 99: 500}


class Distribution(Value):
    """A sample's summary, in the unit of its name. A percentile is None where n is too small for it."""

    n: int
    mean: float | None = None
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None
    max: float | None = None


class WindowMetrics(Value):
    """One window of the time line; `start_s` counts from the start of the ramp."""

    start_s: float
    length_s: float
    tokens: float
    tokens_per_s: float
    ttft_mean_s: float | None
    requests_ended: int
    errors: int
    active_users: float


class Metrics(Value):
    """The figures of one cell. `all_*` include ramp and drain, as the article's client did."""

    steady_start_s: float
    steady_length_s: float
    completed: int
    cut: int
    errors: dict[str, int]
    error_share: float
    requests_per_s: float
    tokens_per_s: float
    all_tokens_per_s: float
    all_ttft_mean_s: float | None
    ttft_s: Distribution
    itl_s: Distribution
    tpot_s: Distribution
    latency_s: Distribution
    prompt_tokens: Distribution
    output_tokens: Distribution
    tokens_per_event: float | None
    finish_reasons: dict[str, int]
    active_users_mean: float
    client_cpu_share: float
    windows: tuple[WindowMetrics, ...]


class Span(Value):
    """The measured time in CLOCK_MONOTONIC nanoseconds: ramp from `start_ns`, steady until `end_ns`."""

    start_ns: int
    steady_ns: int
    end_ns: int


def summarise(
    exchanges: Sequence[Exchange], span: Span, *, window_s: float, client_cpu_s: float = 0.0
) -> Metrics:
    """All figures of a cell from its exchanges."""
    steady_s = (span.end_ns - span.steady_ns) / 1e9
    whole_s = (span.end_ns - span.start_ns) / 1e9
    ended = [x for x in exchanges if span.steady_ns <= x.end_ns <= span.end_ns]
    completed = [x for x in ended if x.outcome is Outcome.OK]
    errors = Counter(x.outcome.value for x in ended if x.outcome.failed)
    judged = len(completed) + sum(errors.values())
    first = [x for x in exchanges if span.steady_ns <= x.first_token_ns <= span.end_ns]
    times, weights = token_times(exchanges)
    inside = (times >= span.steady_ns) & (times < span.end_ns)
    events = sum(len(x.event_ns) for x in completed)
    return Metrics(
        steady_start_s=(span.steady_ns - span.start_ns) / 1e9,
        steady_length_s=steady_s,
        completed=len(completed),
        cut=sum(x.outcome is Outcome.CUT for x in exchanges),
        errors=dict(errors),
        error_share=sum(errors.values()) / judged if judged else 0.0,
        requests_per_s=len(completed) / steady_s,
        tokens_per_s=float(weights[inside].sum()) / steady_s,
        all_tokens_per_s=float(weights[times < span.end_ns].sum()) / whole_s,
        all_ttft_mean_s=_mean([ttft_s(x) for x in exchanges if x.first_token_ns]),
        ttft_s=distribution([ttft_s(x) for x in first]),
        itl_s=distribution(np.concatenate([itl_s(x) for x in completed]) if completed else []),
        tpot_s=distribution([t for x in completed if (t := tpot_s(x)) is not None]),
        latency_s=distribution([(x.end_ns - x.send_ns) / 1e9 for x in completed]),
        prompt_tokens=distribution([x.prompt_tokens for x in completed if x.prompt_tokens is not None]),
        output_tokens=distribution([x.tokens for x in completed]),
        tokens_per_event=sum(x.tokens for x in completed) / events if events else None,
        finish_reasons=dict(Counter(x.finish_reason or "none" for x in completed)),
        active_users_mean=active_users(exchanges, span.steady_ns, span.end_ns),
        client_cpu_share=client_cpu_s / whole_s,
        windows=_windows(exchanges, span, window_s, times, weights),
    )


def ttft_s(x: Exchange) -> float:
    """Time to first token: from sending the request to the first event with generated content."""
    return (x.first_token_ns - x.send_ns) / 1e9


def itl_s(x: Exchange) -> Floats:
    """Inter-token latencies: gaps between arrivals of events with content. Events that arrive in one
    read have the same time, so a bundled event gives a gap of 0; `tokens_per_event` discloses it."""
    return np.diff(x.event_ns) / 1e9


def tpot_s(x: Exchange) -> float | None:
    """Time per output token after the first: (last token - first token) / (tokens - 1)."""
    if x.tokens < 2:  # noqa: PLR2004 - one token has no gap
        return None
    return (x.last_token_ns - x.first_token_ns) / 1e9 / (x.tokens - 1)


def token_times(exchanges: Sequence[Exchange]) -> tuple[npt.NDArray[np.int64], Floats]:
    """Arrival of every event with content, and how many tokens each stands for.

    Engines bundle tokens into one event; where the engine's count is known, an exchange's events share
    it evenly, so that the sum is the engine's own.
    """
    some = [x for x in exchanges if len(x.event_ns)]
    if not some:
        return np.empty(0, np.int64), np.empty(0)
    times = np.concatenate([x.event_ns for x in some])
    weights = np.concatenate([np.full(len(x.event_ns), x.tokens / len(x.event_ns)) for x in some])
    return times, weights


def active_users(exchanges: Sequence[Exchange], from_ns: int, to_ns: int) -> float:
    """Mean number of requests in flight between two moments (think time counts as not in flight)."""
    if to_ns <= from_ns:
        return 0.0
    busy = sum(max(0, min(x.end_ns, to_ns) - max(x.send_ns, from_ns)) for x in exchanges)
    return busy / (to_ns - from_ns)


def distribution(values: Sequence[float] | Floats) -> Distribution:
    """Mean, maximum and those percentiles which the sample is large enough for."""
    array = np.asarray(values, dtype=float)
    if not len(array):
        return Distribution(n=0)
    return Distribution(
        n=len(array),
        mean=float(array.mean()),
        p50=_percentile(array, 50),
        p95=_percentile(array, 95),
        p99=_percentile(array, 99),
        max=float(array.max()),
    )


def _percentile(array: Floats, q: int) -> float | None:
    return float(np.percentile(array, q)) if len(array) >= MIN_SAMPLES[q] else None


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _windows(
    exchanges: Sequence[Exchange],
    span: Span,
    window_s: float,
    times: npt.NDArray[np.int64],
    weights: Floats,
) -> tuple[WindowMetrics, ...]:
    count = ceil((span.end_ns - span.start_ns) / 1e9 / window_s - 1e-9)
    return tuple(_window(exchanges, span, i * window_s, window_s, times, weights) for i in range(count))


def _window(
    exchanges: Sequence[Exchange],
    span: Span,
    start_s: float,
    window_s: float,
    times: npt.NDArray[np.int64],
    weights: Floats,
) -> WindowMetrics:
    start = span.start_ns + round(start_s * 1e9)
    end = min(start + round(window_s * 1e9), span.end_ns)
    length_s = (end - start) / 1e9
    tokens = float(weights[(times >= start) & (times < end)].sum())
    ended = [x for x in exchanges if start <= x.end_ns < end]
    return WindowMetrics(
        start_s=start_s,
        length_s=length_s,
        tokens=tokens,
        tokens_per_s=tokens / length_s,
        ttft_mean_s=_mean([ttft_s(x) for x in exchanges if start <= x.first_token_ns < end]),
        requests_ended=sum(x.outcome is Outcome.OK for x in ended),
        errors=sum(x.outcome.failed for x in ended),
        active_users=active_users(exchanges, start, end),
    )
