"""The figures of one request, and whether it kept what users are promised. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from backends.contract import Value
from orchestrator.domain.exchange import Exchange


class Slo(Value):
    """Limits in seconds that a request must all keep to count as good; None is no limit."""

    ttft_s: float | None = None
    tpot_s: float | None = None
    latency_s: float | None = None


def kept(slo: Slo, exchanges: Sequence[Exchange]) -> int:
    """How many of the completed requests kept every limit."""
    return sum(
        _within(ttft_s(x), slo.ttft_s)
        and _within(tpot_s(x), slo.tpot_s)
        and _within(latency_s(x), slo.latency_s)
        for x in exchanges
    )


def ttft_s(x: Exchange) -> float | None:
    return (x.first_token_ns - x.begin_ns) / 1e9 if x.first_token_ns else None


def latency_s(x: Exchange) -> float:
    return (x.end_ns - x.begin_ns) / 1e9


def tpot_s(x: Exchange) -> float | None:
    """Time per output token after the first: (last token - first token) / (tokens - 1).

    None where there is no gap to measure: one token, or all tokens in one event.
    """
    if x.tokens < 2 or len(x.event_ns) < 2:  # noqa: PLR2004 - one token has no gap
        return None
    return float(x.event_ns[-1] - x.event_ns[0]) / 1e9 / (x.tokens - 1)


def normalized_latency_s(x: Exchange) -> float | None:
    """Latency / tokens, waiting included; None without a token."""
    return latency_s(x) / x.tokens if x.tokens else None


def _within(value: float | None, limit: float | None) -> bool:
    return limit is None or value is None or value <= limit
