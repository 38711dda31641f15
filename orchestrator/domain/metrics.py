"""Exchanges -> figures. Pure arithmetic; seconds in and out. Definitions: docs/metrics.md.

The headline comes from the steady window (orchestrator/domain/windows.py). A latency belongs to the window in
which it became known (first token, next token, end), a token to the one in which it arrived.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from backends.contract import Value
from orchestrator.domain.counts import (
    PromptOffsets,
    TokenCounts,
    prompt_offsets,
    token_counts,
    tokens_from,
    tokens_per_event,
)
from orchestrator.domain.distribution import MIN_SAMPLES, PERCENTILES, Distribution, distribution, weighted
from orchestrator.domain.exchange import UNSTAMPED, Exchange, Outcome
from orchestrator.domain.intervals import SLICES, Bounds, mean_bounds, percentile_bounds
from orchestrator.domain.request import Slo, kept, latency_s, normalized_latency_s, tpot_s
from orchestrator.domain.stationarity import Stationarity, stationarity
from orchestrator.domain.table import NEVER, Bools, Floats, Ints, Part, Table, busy_s, sums, table
from orchestrator.domain.windows import (
    Parts,
    Presence,
    Span,
    SteadyRule,
    WindowMetrics,
    parts,
    presence,
    present_s,
    windows,
)

# From so many tokens on an event is a bundle. A count of one more than there are events is none: an engine may
# count the end of the answer, which it does not show.
BUNDLE_TOKENS = 1.5


class TtftBounds(Value):
    """95 % intervals of `ttft_s`; one is None where the figure itself is."""

    mean: Bounds | None = None
    p50: Bounds | None = None
    p95: Bounds | None = None
    p99: Bounds | None = None


class Metrics(Value):
    """The figures of one cell. `all_*` include ramp and drain, as the article's client did."""

    steady_rule: SteadyRule
    steady_start_s: float
    steady_length_s: float
    drain_length_s: float
    completed: int
    cut: int
    unanswered: int
    unanswered_wait_max_s: float | None
    errors: dict[str, int]
    error_share: float
    sent_per_s: float
    requests_per_s: float
    goodput_per_s: float | None
    slo: Slo | None
    tokens_per_s: float
    tokens_per_s_bounds: Bounds | None
    prompt_tokens_per_s: float | None
    all_tokens_per_s: float
    all_ttft_mean_s: float | None
    ttft_s: Distribution
    ttft_s_bounds: TtftBounds
    ttft_sent_s: Distribution
    itl_s: Distribution
    event_gap_s: Distribution
    tpot_s: Distribution
    latency_s: Distribution
    latency_sent_s: Distribution
    normalized_latency_s: Distribution
    send_delay_s: Distribution
    prompt_tokens: Distribution
    output_tokens: Distribution
    tokens_per_event: float | None
    bundled_share: float
    tokens_from: dict[str, int]
    token_counts: TokenCounts
    prompt_offsets: PromptOffsets | None
    finish_reasons: dict[str, int]
    active_users_mean: float
    present_users_mean: float
    users_gone: int
    silence_max_s: float
    client_cpu_share: float
    client_late_s: Distribution
    client_realtime: bool
    client_awake: bool
    client_lag_s: Distribution
    client_kernel_share: float
    client_coalesced_share: float
    client_clock_steps: int
    stationarity: Stationarity
    windows: tuple[WindowMetrics, ...]


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked of a load, as far as figures depend on it. Where `users` is None, nobody
    can say who is missing."""

    users: int | None = None
    think_s: float = 0.0
    slo: Slo | None = None


@dataclass(frozen=True, slots=True)
class ClientSide:
    """What the load client says of itself: its CPU time, how late it woke each time, whether it had real-time
    priority, whether its core was kept awake, how often the host's clock was set meanwhile."""

    cpu_s: float = 0.0
    late_s: Sequence[float] = ()
    realtime: bool = False
    awake: bool = False
    clock_steps: int = 0


def summarise(
    exchanges: Sequence[Exchange],
    span: Span,
    *,
    window_s: float,
    asked: Asked = Asked(),
    client: ClientSide = ClientSide(),
) -> Metrics:
    """All figures of a cell from its exchanges."""
    columns = table(exchanges, span.start_ns)
    present = presence(columns, span.end_ns - span.start_ns, asked.think_s)
    found = parts(columns, span, present, asked.users)
    whole, steady = found.whole, found.steady
    line = windows(columns, whole, present, window_s)
    ended = [x for x, inside in zip(exchanges, steady.holds(columns.end), strict=True) if inside]
    completed = [x for x in ended if x.outcome is Outcome.OK]
    failures = [x for x in ended if x.outcome.failed]
    tpots_s, normalized_s = _known(map(tpot_s, completed)), _known(map(normalized_latency_s, completed))
    waits_s = _unanswered_s(columns, whole)
    first = steady.holds(columns.first)
    ttfts_s = columns.ttft_s(first)
    gap = steady.holds(columns.event) & ~np.isnan(columns.gap_s)
    event_gap_s = distribution(columns.gap_s[gap])
    mute = sum(not x.first_token_ns for x in failures)
    return Metrics(
        steady_rule=found.rule,
        steady_start_s=steady.start / 1e9,
        steady_length_s=steady.length_s,
        drain_length_s=(whole.end - steady.end) / 1e9,
        completed=len(completed),
        cut=sum(x.outcome is Outcome.CUT for x in exchanges),
        unanswered=len(waits_s),
        unanswered_wait_max_s=float(waits_s.max()) if len(waits_s) else None,
        errors=_count(_kind(x) for x in failures),
        error_share=_ratio(len(failures), len(failures) + len(completed)),
        sent_per_s=_ratio(int(steady.holds(columns.send).sum()), steady.length_s),
        requests_per_s=_ratio(len(completed), steady.length_s),
        goodput_per_s=None if asked.slo is None else _ratio(kept(asked.slo, completed), steady.length_s),
        slo=asked.slo,
        tokens_per_s=_ratio(columns.tokens(steady), steady.length_s),
        tokens_per_s_bounds=_rate_bounds(columns, steady),
        prompt_tokens_per_s=_prompt_rate(exchanges, first, steady),
        all_tokens_per_s=_ratio(columns.tokens(whole), whole.length_s),
        all_ttft_mean_s=_mean(columns.ttft_s(whole.holds(columns.first))),
        ttft_s=distribution(ttfts_s, failed=mute),
        ttft_s_bounds=_ttft_bounds(columns.first[first], ttfts_s, steady),
        ttft_sent_s=_since_send(columns, columns.first, first, mute),
        itl_s=_itl(columns.gap_s[gap], columns.weight[gap], event_gap_s),
        event_gap_s=event_gap_s,
        tpot_s=distribution(tpots_s, failed=len(failures)),
        latency_s=distribution([latency_s(x) for x in completed], failed=len(failures)),
        latency_sent_s=_since_send(
            columns, columns.end, columns.ok & steady.holds(columns.end), len(failures)
        ),
        normalized_latency_s=distribution(normalized_s, failed=len(failures)),
        send_delay_s=_send_delay(columns, steady),
        prompt_tokens=distribution(_known(x.prompt_tokens for x in completed)),
        output_tokens=distribution([x.tokens for x in completed]),
        tokens_per_event=tokens_per_event(completed),
        bundled_share=_bundled_share(columns, steady),
        tokens_from=tokens_from(completed),
        token_counts=token_counts(exchanges, columns.tokens(whole)),
        prompt_offsets=prompt_offsets(exchanges),
        finish_reasons=_count(x.finish_reason or "none" for x in completed),
        active_users_mean=_ratio(_total(busy_s(columns.send, columns.end, _edges(steady))), steady.length_s),
        present_users_mean=_ratio(_total(present_s(present, _edges(steady))), steady.length_s),
        users_gone=_gone(found, present),
        silence_max_s=_silence_s(columns, steady),
        client_cpu_share=_ratio(client.cpu_s, whole.length_s),
        client_late_s=distribution(client.late_s),
        client_realtime=client.realtime,
        client_awake=client.awake,
        client_lag_s=distribution(_lags_s(exchanges)),
        client_kernel_share=_ratio(sum(x.stamped for x in exchanges), sum(x.reads for x in exchanges)),
        client_coalesced_share=_ratio(sum(x.coalesced for x in exchanges), sum(x.reads for x in exchanges)),
        client_clock_steps=client.clock_steps,
        stationarity=stationarity(line, (steady.start / 1e9, steady.end / 1e9), window_s),
        windows=line,
    )


def _lags_s(exchanges: Sequence[Exchange]) -> Floats:
    """Of every event that the kernel stamped, how long after its stamp the client had it."""
    lags_ns = np.concatenate([np.empty(0, np.int64), *(x.event_lag_ns for x in exchanges)])
    lags_s: Floats = lags_ns[lags_ns != UNSTAMPED] / 1e9
    return lags_s


def _unanswered_s(columns: Table, whole: Part) -> Floats:
    """How long each request had waited that was still without a token when measuring ended.

    Their times to first token are unknown but not short: leaving them out flatters the mean.
    """
    rows = (columns.begin < whole.end) & (columns.first >= whole.end) & (columns.end >= whole.end)
    return (whole.end - columns.begin[rows]) / 1e9


def _since_send(columns: Table, times: Ints, rows: Bools, failed: int) -> Distribution:
    """What an open loop's figure would be without the wait before sending; nothing in a closed loop."""
    planned = rows & (columns.scheduled != NEVER)
    return distribution(
        (times[planned] - columns.send[planned]) / 1e9,
        failed=failed if (columns.scheduled != NEVER).any() else 0,
    )


def _send_delay(columns: Table, steady: Part) -> Distribution:
    """Of the requests that were due steady and have been sent."""
    rows = steady.holds(columns.scheduled) & (columns.send != NEVER)
    return distribution((columns.send[rows] - columns.scheduled[rows]) / 1e9)


def _itl(gaps_s: Floats, weights: Floats, event_gap_s: Distribution) -> Distribution:
    """Every token's own gap: those of a bundle share the gap before it evenly."""
    tokens = np.where(weights >= BUNDLE_TOKENS, weights, 1.0)
    return weighted(gaps_s / tokens, tokens) if (tokens > 1).any() else event_gap_s


def _bundled_share(columns: Table, steady: Part) -> float:
    weights = columns.weight[steady.holds(columns.event)]
    return _ratio(float(weights[weights >= BUNDLE_TOKENS].sum()), float(weights.sum()))


def _rate_bounds(columns: Table, steady: Part) -> Bounds | None:
    edges = _slices(steady)
    if len(edges) <= SLICES:
        return None
    return mean_bounds(sums(columns.event, edges, columns.weight), np.diff(edges) / 1e9)


def _ttft_bounds(first: Ints, ttfts_s: Floats, steady: Part) -> TtftBounds:
    """Only of figures that are stated; of the mean from as many samples on as a median needs."""
    edges = _slices(steady)
    if len(edges) <= SLICES or len(ttfts_s) < MIN_SAMPLES[50]:
        return TtftBounds()
    where = np.searchsorted(edges, first, side="right") - 1
    of = {
        f"p{q}": percentile_bounds(ttfts_s, where, SLICES, q)
        for q in PERCENTILES
        if len(ttfts_s) >= MIN_SAMPLES[q]
    }
    return TtftBounds(mean=mean_bounds(sums(first, edges, ttfts_s), sums(first, edges)), **of)


def _slices(steady: Part) -> Ints:
    """The edges of equal slices of the steady window; fewer where it is shorter than so many nanoseconds."""
    return np.unique(np.linspace(steady.start, steady.end, SLICES + 1).astype(np.int64))


def _prompt_rate(exchanges: Sequence[Exchange], first: Bools, steady: Part) -> float | None:
    """Prompt tokens of those requests whose first token came steady; None where the engine counts none."""
    known = _known(x.prompt_tokens for x, inside in zip(exchanges, first, strict=True) if inside)
    return _ratio(sum(known), steady.length_s) if known else None


def _gone(found: Parts, present: Presence) -> int:
    """In an open loop nobody stays: each request is a user of its own."""
    return 0 if found.rule is SteadyRule.OPEN_LOOP else int(present.gone.sum())


def _silence_s(columns: Table, part: Part) -> float:
    """The longest time within a part in which no token came to any user although requests were in flight."""
    begins, ends = np.sort(columns.send), np.sort(columns.end)
    turns = np.concatenate((_turns(begins, ends), columns.event))
    moments = np.unique(np.concatenate((turns[part.holds(turns)], [part.start, part.end])))
    middles = moments[:-1] + np.diff(moments) // 2
    in_flight = np.searchsorted(begins, middles, side="right") > np.searchsorted(ends, middles, side="right")
    return float(np.diff(moments)[in_flight].max(initial=0)) / 1e9


def _turns(begins: Ints, ends: Ints) -> Ints:
    """When the first of some periods begins, or the last of them ends, whatever the others do."""
    times = np.concatenate((begins, ends))
    steps = np.concatenate((np.ones(len(begins), np.int64), np.full(len(ends), -1)))
    order = np.lexsort((-steps, times))  # what ends as the next begins leaves no time between
    depth = np.cumsum(steps[order])
    turns: Ints = times[order][(depth == 0) | (np.concatenate(([0], depth[:-1])) == 0)]
    return turns


def _edges(part: Part) -> Ints:
    return np.array([part.start, part.end])


def _total(one: Floats) -> float:
    return float(one.sum())


def _known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _kind(failure: Exchange) -> str:
    """A failure's name; a refusal with its status: 429 and 500 are not one trouble."""
    name = failure.outcome.value
    return f"{name} {failure.status}" if failure.outcome is Outcome.HTTP_STATUS else name


def _count(names: Iterable[str]) -> dict[str, int]:
    """How often each name occurs, in the names' order, so that equal data gives equal text."""
    return dict(sorted(Counter(names).items()))


def _ratio(amount: float, of: float) -> float:
    return amount / of if of > 0 else 0.0


def _mean(values: Floats) -> float | None:
    return float(values.mean()) if len(values) else None
