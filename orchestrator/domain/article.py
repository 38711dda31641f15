"""The article's protocol to the letter: what its client would have printed of these exchanges. Pure.

Its client was bentoml/llm-bench at 02eab0e (benchmark.py, common.py). It counted every chunk of text by
stripping it and tokenising it again, put the counts into buckets of one second, printed the mean of five of them
every five seconds, and averaged over everything, ramp included. Its TTFT was corrected by a ping. Beside its
figures stand ours, and what each of its rules adds to the difference.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from backends.contract import Value
from orchestrator.domain.exchange import Exchange, Outcome
from orchestrator.domain.metrics import Metrics
from orchestrator.domain.table import Table, table
from orchestrator.domain.windows import Span

Floats = npt.NDArray[np.float64]

PINGS = 5
PING_ALLOWANCE_S = 0.005
BUCKET_S = 1.0
BUCKETS_PER_PRINT = 5


class LiteralSample(Value):
    """What its final report prints of a latency, at any sample size."""

    n: int
    mean: float | None = None
    median: float | None = None
    p95: float | None = None
    p99: float | None = None


class RateDifference(Value):
    """From our token rate to the literal one: the parts add up.

    `ramp`: averaging over ramp and drain too. `stripped`: tokens of chunks that are nothing but white space.
    `retokenised`: what else differs between the engine's count and that of chunks tokenised one by one.
    """

    ours_per_s: float
    ramp_per_s: float
    stripped_per_s: float
    retokenised_per_s: float


class TtftDifference(Value):
    """From our mean TTFT to the literal one: the parts add up. `ping_s` is what it subtracts, negated."""

    ours_s: float
    ramp_s: float
    ping_s: float


class Article(Value):
    """The figures of the article's client. Token figures are None where chunks were not tokenised again."""

    ping_s: float
    tokens_per_s: float | None
    printed_per_s: tuple[float, ...]
    ttft_s: LiteralSample
    latency_s: LiteralSample
    requests_per_s: float
    dropped: int
    rate_difference: RateDifference | None
    ttft_difference: TtftDifference | None


def literal_tokens(text: str, encode: Callable[[str], Sequence[int]]) -> int:
    """How many tokens its client saw in one chunk. `encode` must add no special tokens."""
    return len(encode(text.strip()))


def ping_s(pings_s: Sequence[float]) -> float:
    """What it subtracts from each TTFT: the mean of its pings less 5 ms; nothing where nobody pinged."""
    return sum(pings_s) / len(pings_s) - PING_ALLOWANCE_S if pings_s else 0.0


def article(
    exchanges: Sequence[Exchange], span: Span, ours: Metrics, pings_s: Sequence[float] = ()
) -> Article:
    """Its figures of a cell, with the difference to ours explained."""
    columns, length_s = table(exchanges, span.start_ns), max(0, span.end_ns - span.start_ns) / 1e9
    end = round(length_s * 1e9)
    correction_s = ping_s(pings_s)
    ttfts_s = columns.ttft_s(columns.first < end) - correction_s
    done = [x for x in exchanges if x.end_ns - span.start_ns < end and _ended(x)]
    literal = _literal(exchanges, columns)
    return Article(
        ping_s=correction_s,
        tokens_per_s=None if literal is None or not length_s else _within(columns, literal, end) / length_s,
        printed_per_s=() if literal is None else _printed(columns, literal, length_s),
        ttft_s=_sample(ttfts_s),
        latency_s=_sample(np.array([(x.end_ns - x.send_ns) / 1e9 for x in done])),
        requests_per_s=len(done) / length_s if length_s else 0.0,
        dropped=sum(x.send_ns - span.start_ns < end <= x.end_ns - span.start_ns for x in exchanges),
        rate_difference=_rate_difference(columns, literal, end, ours),
        ttft_difference=_ttft_difference(ttfts_s, correction_s, ours),
    )


def _ended(x: Exchange) -> bool:
    """A bad status counts as a request and has a latency; a broken stream ends its user and has none."""
    return x.outcome in (Outcome.OK, Outcome.HTTP_STATUS)


def _literal(exchanges: Sequence[Exchange], columns: Table) -> Floats | None:
    """Its count of every event's text; None where one was not counted."""
    counts = np.concatenate([np.empty(0, np.int64), *(x.literal_tokens for x in exchanges)])
    return counts.astype(float) if len(counts) == len(columns.event) and len(counts) else None


def _within(columns: Table, values: Floats, end: int) -> float:
    return float(values[columns.event < end].sum())


def _printed(columns: Table, literal: Floats, length_s: float) -> tuple[float, ...]:
    """The lines that it prints while it runs."""
    prints = int(length_s // (BUCKET_S * BUCKETS_PER_PRINT))
    edges = np.arange(prints * BUCKETS_PER_PRINT + 1) * BUCKET_S * 1e9
    buckets, _ = np.histogram(columns.event, edges, weights=literal)
    return tuple(buckets.reshape(prints, -1).mean(axis=1).tolist()) if prints else ()


def _rate_difference(
    columns: Table, literal: Floats | None, end: int, ours: Metrics
) -> RateDifference | None:
    if literal is None or end <= 0:
        return None
    length_s = end / 1e9
    blank = np.where(literal == 0, columns.weight, 0.0)
    retokenised = np.where(literal == 0, 0.0, literal - columns.weight)
    return RateDifference(
        ours_per_s=ours.tokens_per_s,
        ramp_per_s=ours.all_tokens_per_s - ours.tokens_per_s,
        stripped_per_s=-_within(columns, blank, end) / length_s,
        retokenised_per_s=_within(columns, retokenised, end) / length_s,
    )


def _ttft_difference(literal_s: Floats, correction_s: float, ours: Metrics) -> TtftDifference | None:
    if not len(literal_s) or ours.ttft_s.mean is None:
        return None
    everything_s = float(literal_s.mean()) + correction_s
    return TtftDifference(
        ours_s=ours.ttft_s.mean, ramp_s=everything_s - ours.ttft_s.mean, ping_s=-correction_s
    )


def _sample(values: Floats) -> LiteralSample:
    if not len(values):
        return LiteralSample(n=0)
    median, p95, p99 = np.percentile(values, (50, 95, 99)).tolist()
    return LiteralSample(n=len(values), mean=float(values.mean()), median=median, p95=p95, p99=p99)
