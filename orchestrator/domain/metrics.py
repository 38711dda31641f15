"""Exchanges -> figures. Pure arithmetic; seconds in and out. Definitions: docs/metrics.md.

The headline comes from the steady window: from the end of the ramp to the end of measuring. Intervals
are half-open: a moment belongs to the window that begins with it. A latency belongs to the window in
which it became known (first token, next token, end), a token to the one in which it arrived.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from backends.contract import Value
from orchestrator.domain.exchange import UNSTAMPED, Exchange, Outcome

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

# A percentile is printed only where n supports it: about five samples must lie beyond it.
MIN_SAMPLES = {50: 10, 95: 100, 99: 500}
# A remainder of the measured time shorter than this share of a window joins the last whole window.
MIN_WINDOW_SHARE = 0.1

_NEVER = np.iinfo(np.int64).max


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
    """The figures of one cell. `all_*` include the ramp, as the article's client did."""

    steady_start_s: float
    steady_length_s: float
    completed: int
    cut: int
    unanswered: int
    unanswered_wait_max_s: float | None
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
    present_users_mean: float
    silence_max_s: float
    client_cpu_share: float
    client_late_s: Distribution
    client_realtime: bool
    client_lag_s: Distribution
    client_kernel_share: float
    client_coalesced_share: float
    client_clock_steps: int
    windows: tuple[WindowMetrics, ...]


class Span(Value):
    """The measured time in CLOCK_MONOTONIC nanoseconds: ramp from `start_ns`, steady until `end_ns`."""

    start_ns: int
    steady_ns: int
    end_ns: int


def summarise(
    exchanges: Sequence[Exchange],
    span: Span,
    *,
    window_s: float,
    client_cpu_s: float = 0.0,
    client_late_s: Sequence[float] = (),
    client_realtime: bool = False,
    client_clock_steps: int = 0,
) -> Metrics:
    """All figures of a cell from its exchanges."""
    table = _table(exchanges, span.start_ns)
    whole, steady = _intervals(span)
    ended = [x for x, inside in zip(exchanges, steady.holds(table.end), strict=True) if inside]
    completed = [x for x in ended if x.outcome is Outcome.OK]
    failures = [x.outcome.value for x in ended if x.outcome.failed]
    waits_s = _unanswered_s(table, whole)
    first = steady.holds(table.first)
    return Metrics(
        steady_start_s=steady.start / 1e9,
        steady_length_s=steady.length_s,
        completed=len(completed),
        cut=sum(x.outcome is Outcome.CUT for x in exchanges),
        unanswered=len(waits_s),
        unanswered_wait_max_s=float(waits_s.max()) if len(waits_s) else None,
        errors=_count(failures),
        error_share=_ratio(len(failures), len(failures) + len(completed)),
        requests_per_s=_ratio(len(completed), steady.length_s),
        tokens_per_s=_ratio(table.tokens(steady), steady.length_s),
        all_tokens_per_s=_ratio(table.tokens(whole), whole.length_s),
        all_ttft_mean_s=_mean(table.ttft_s(whole.holds(table.first))),
        ttft_s=distribution(table.ttft_s(first)),
        itl_s=distribution(table.gap_s[steady.holds(table.event) & ~np.isnan(table.gap_s)]),
        tpot_s=distribution([t for x in completed if (t := tpot_s(x)) is not None]),
        latency_s=distribution([(x.end_ns - x.send_ns) / 1e9 for x in completed]),
        prompt_tokens=distribution([x.prompt_tokens for x in completed if x.prompt_tokens is not None]),
        output_tokens=distribution([x.tokens for x in completed]),
        tokens_per_event=tokens_per_event(completed),
        finish_reasons=_count(x.finish_reason or "none" for x in completed),
        active_users_mean=_ratio(_busy_s(table.send, table.end, steady), steady.length_s),
        present_users_mean=_ratio(_present_s(table, steady), steady.length_s),
        silence_max_s=_silence_s(table, steady),
        client_cpu_share=_ratio(client_cpu_s, whole.length_s),
        client_late_s=distribution(client_late_s),
        client_realtime=client_realtime,
        client_lag_s=distribution(_lags_s(exchanges)),
        client_kernel_share=_ratio(sum(x.stamped for x in exchanges), sum(x.reads for x in exchanges)),
        client_coalesced_share=_ratio(sum(x.coalesced for x in exchanges), sum(x.reads for x in exchanges)),
        client_clock_steps=client_clock_steps,
        windows=_windows(table, whole, window_s),
    )


def tpot_s(x: Exchange) -> float | None:
    """Time per output token after the first: (last token - first token) / (tokens - 1).

    None where there is no gap to measure: one token, or all tokens in one event.
    """
    if x.tokens < 2 or len(x.event_ns) < 2:  # noqa: PLR2004 - one token has no gap
        return None
    return float(x.event_ns[-1] - x.event_ns[0]) / 1e9 / (x.tokens - 1)


def tokens_per_event(exchanges: Sequence[Exchange]) -> float | None:
    """How many tokens an event with content stands for, on average; None without any event."""
    events = sum(len(x.event_ns) for x in exchanges)
    return sum(x.tokens for x in exchanges if len(x.event_ns)) / events if events else None


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


@dataclass(frozen=True, slots=True)
class _Interval:
    """From `start` until before `end`, in nanoseconds after the start of the ramp."""

    start: int
    end: int

    @property
    def length_s(self) -> float:
        return (self.end - self.start) / 1e9

    def holds(self, times: Ints) -> Bools:
        return (times >= self.start) & (times < self.end)


@dataclass(frozen=True, slots=True)
class _Table:
    """The exchanges as columns. Times are nanoseconds after the start of the ramp, or _NEVER.

    `event` has one entry per event with content, of all exchanges; `weight` says how many tokens it
    stands for and `gap_s` how long after its predecessor it came (NaN for an exchange's first).
    """

    user: Ints
    send: Ints
    end: Ints
    first: Ints
    ok: Bools
    failed: Bools
    event: Ints
    weight: Floats
    gap_s: Floats

    def tokens(self, interval: _Interval) -> float:
        return float(self.weight[interval.holds(self.event)].sum())

    def ttft_s(self, rows: Bools) -> Floats:
        return (self.first[rows] - self.send[rows]) / 1e9


def _intervals(span: Span) -> tuple[_Interval, _Interval]:
    """The whole measured time and its steady part, which is empty if measuring ended in the ramp."""
    end = max(0, span.end_ns - span.start_ns)
    steady = min(max(0, span.steady_ns - span.start_ns), end)
    return _Interval(0, end), _Interval(steady, end)


def _table(exchanges: Sequence[Exchange], start_ns: int) -> _Table:
    counts = _ints(len(x.event_ns) for x in exchanges)
    event = np.concatenate([np.empty(0, np.int64), *(x.event_ns for x in exchanges)])
    return _Table(
        user=_ints(x.user for x in exchanges),
        send=_ints(x.send_ns - start_ns for x in exchanges),
        end=_ints(x.end_ns - start_ns for x in exchanges),
        first=_ints(x.first_token_ns - start_ns if x.first_token_ns else _NEVER for x in exchanges),
        ok=np.array([x.outcome is Outcome.OK for x in exchanges], bool),
        failed=np.array([x.outcome.failed for x in exchanges], bool),
        event=event - start_ns,
        weight=np.repeat(_weights(exchanges), counts),
        gap_s=_gaps_s(event, counts),
    )


def _weights(exchanges: Sequence[Exchange]) -> Floats:
    """Tokens per event of each exchange.

    Engines bundle tokens into one event; where the engine's count is known, the exchange's events share
    it evenly, so that their sum is the engine's own. A cut or failed exchange seldom has a count: its
    events stand for as many tokens as those of the counted ones, else its share would be too small.
    """
    counted = [x for x in exchanges if x.completion_tokens is not None]
    typical = tokens_per_event(counted)
    usual = 1.0 if typical is None else typical
    return np.array(
        [
            usual if x.completion_tokens is None else x.completion_tokens / max(1, len(x.event_ns))
            for x in exchanges
        ],
        float,
    )


def _gaps_s(event: Ints, counts: Ints) -> Floats:
    gaps_s = np.diff(event, prepend=0) / 1e9
    starts = (np.cumsum(counts) - counts)[counts > 0]
    gaps_s[starts] = np.nan
    return gaps_s


def _lags_s(exchanges: Sequence[Exchange]) -> Floats:
    """How long after the kernel the client had each event whose arrival was stamped."""
    lags_ns = np.concatenate([np.empty(0, np.int64), *(x.event_lag_ns for x in exchanges)])
    lags_s: Floats = lags_ns[lags_ns != UNSTAMPED] / 1e9
    return lags_s


def _unanswered_s(table: _Table, whole: _Interval) -> Floats:
    """How long each request had waited that was still without a token when measuring ended.

    Their times to first token are unknown but not short: leaving them out flatters the mean.
    """
    rows = (table.send < whole.end) & (table.first >= whole.end) & (table.end >= whole.end)
    return (whole.end - table.send[rows]) / 1e9


def _busy_s(begin: Ints, end: Ints, interval: _Interval) -> float:
    edges = np.array([interval.start, interval.end])
    return float(_busy_between_s(begin, end, edges)[0])


def _busy_between_s(begin: Ints, end: Ints, edges: Ints) -> Floats:
    """Seconds that the periods begin..end, overlapping freely, spend between neighbouring edges."""
    return np.diff(_elapsed(begin, edges) - _elapsed(end, edges)) / 1e9


def _elapsed(moments: Ints, at: Ints) -> Ints:
    """Sum over the moments before `at` of the time since each."""
    ordered = np.sort(moments)
    before = np.searchsorted(ordered, at)
    total = np.concatenate([np.zeros(1, np.int64), np.cumsum(ordered)])
    elapsed: Ints = before * at - total[before]
    return elapsed


def _present_s(table: _Table, interval: _Interval) -> float:
    """Seconds in which users took part: each from its first request to the end of its last."""
    users, index = np.unique(table.user, return_inverse=True)
    first = np.full(len(users), _NEVER)
    last = np.zeros(len(users), np.int64)
    np.minimum.at(first, index, table.send)
    np.maximum.at(last, index, table.end)
    return _busy_s(first, last, interval)


def _silence_s(table: _Table, interval: _Interval) -> float:
    """The longest time within an interval in which no token came to any user."""
    inside = np.sort(table.event[interval.holds(table.event)])
    moments = np.concatenate(([interval.start], inside, [interval.end]))
    return float(np.diff(moments).max()) / 1e9


def _windows(table: _Table, whole: _Interval, window_s: float) -> tuple[WindowMetrics, ...]:
    edges = _edges(whole.end, window_s)
    lengths_s = np.diff(edges) / 1e9
    tokens = _sums(table.event, edges, table.weight)
    answered = table.first < whole.end
    firsts = _sums(table.first[answered], edges)
    ttfts_s = _sums(table.first[answered], edges, table.ttft_s(answered))
    ok = _sums(table.end[table.ok], edges)
    errors = _sums(table.end[table.failed], edges)
    busy_s = _busy_between_s(table.send, table.end, edges)
    return tuple(
        WindowMetrics(
            start_s=float(edges[i]) / 1e9,
            length_s=float(length_s),
            tokens=float(tokens[i]),
            tokens_per_s=float(tokens[i] / length_s),
            ttft_mean_s=float(ttfts_s[i] / firsts[i]) if firsts[i] else None,
            requests_ended=int(ok[i]),
            errors=int(errors[i]),
            active_users=float(busy_s[i] / length_s),
        )
        for i, length_s in enumerate(lengths_s)
    )


def _edges(end: int, window_s: float) -> Ints:
    """Where windows begin, and at last where the measured time ends."""
    width = max(1, round(window_s * 1e9))
    starts = np.arange(0, end, width, dtype=np.int64)
    if len(starts) > 1 and end - starts[-1] < MIN_WINDOW_SHARE * width:
        starts = starts[:-1]
    return np.append(starts, end)


def _sums(times: Ints, edges: Ints, values: Floats | None = None) -> Floats:
    """Per window, how many of the times lie in it, or the sum of their values."""
    windows = len(edges) - 1
    index = np.searchsorted(edges, times, side="right") - 1
    inside = (index >= 0) & (index < windows)
    picked = None if values is None else values[inside]
    return np.bincount(index[inside], weights=picked, minlength=windows).astype(float)


def _ints(values: Iterable[int]) -> Ints:
    return np.fromiter(values, np.int64)


def _count(names: Iterable[str]) -> dict[str, int]:
    """How often each name occurs, in the names' order, so that equal data gives equal text."""
    return dict(sorted(Counter(names).items()))


def _ratio(amount: float, of: float) -> float:
    return amount / of if of > 0 else 0.0


def _mean(values: Floats) -> float | None:
    return float(values.mean()) if len(values) else None


def _percentile(array: Floats, q: int) -> float | None:
    return float(np.percentile(array, q)) if len(array) >= MIN_SAMPLES[q] else None
