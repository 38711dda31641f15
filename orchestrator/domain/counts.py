"""How many tokens: four sources, the rule that picks one, and how far they are apart. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from backends.contract import Gauge, Value
from orchestrator.domain.exchange import Exchange, Outcome
from orchestrator.domain.telemetry import Sample

Floats = npt.NDArray[np.float64]

GENERATED = f"metrics.{Gauge.GENERATED_TOKENS.value}"
RULE = "the first that a request has: usage, tokens stated per event, the text tokenised again, its events"
# The last reading may be one period of telemetry before the end, and a little more.
UNREAD_S = 1.5


class TokenCounts(Value):
    """The same answers by each source: the `requests` that were completed with the engine's count in their usage.

    A source that does not know all of them is None. `events` counts events with content as one token each.
    `tokenizer` is the text of `tokenizer_requests` of them tokenised again, which have `tokenizer_usage` tokens by the
    engine's count; None where nobody did. `rule` says which source a request's number of tokens is taken from.
    `delivered` are all tokens of the measured time, `unfinished` those of them that belong to requests which were
    not completed.
    """

    requests: int
    usage: int
    events: int
    stated: int | None
    tokenizer: int | None
    tokenizer_requests: int = 0
    tokenizer_usage: int = 0
    delivered: float
    unfinished: float
    rule: str = RULE


class PromptOffsets(Value):
    """The engine's count of a prompt less what we rendered, over the requests that have both."""

    requests: int
    least: int
    mean: float
    most: int


def tokens_from(exchanges: Sequence[Exchange]) -> dict[str, int]:
    """How many of the requests took their count from which source. Each takes the first that it has: the
    engine's own count, tokens stated per event, the text tokenised again; `none` are mere events."""
    return dict(sorted(Counter(x.tokens_from.value for x in exchanges).items()))


def token_counts(exchanges: Sequence[Exchange], delivered: float) -> TokenCounts:
    """All sources side by side."""
    completed = [x for x in exchanges if x.outcome is Outcome.OK]
    counted = [x for x in completed if x.completion_tokens is not None]
    stated = [int(x.stated_tokens.sum()) for x in counted if len(x.stated_tokens)]
    again = [x for x in counted if x.text_tokens is not None]
    return TokenCounts(
        requests=len(counted),
        usage=sum(x.completion_tokens or 0 for x in counted),
        events=sum(len(x.event_ns) for x in counted),
        stated=_all_of(stated, counted),
        tokenizer=sum(x.text_tokens or 0 for x in again) if again else None,
        tokenizer_requests=len(again),
        tokenizer_usage=sum(x.completion_tokens or 0 for x in again),
        delivered=delivered,
        unfinished=max(0.0, delivered - sum(x.tokens for x in completed)),
    )


def prompt_offsets(exchanges: Sequence[Exchange]) -> PromptOffsets | None:
    """The engine's prompt counts against ours; None without any pair."""
    pairs = [(x.prompt_tokens, x.expected_prompt_tokens) for x in exchanges if x.outcome is Outcome.OK]
    offsets = [theirs - ours for theirs, ours in pairs if theirs is not None and ours is not None]
    if not offsets:
        return None
    mean = sum(offsets) / len(offsets)
    return PromptOffsets(requests=len(offsets), least=min(offsets), mean=mean, most=max(offsets))


def counter_growth(samples: Sequence[Sample], name: str, from_ns: int, to_ns: int) -> float | None:
    """How much a counter of the engine grew; None where the readings leave more of the span uncovered than one
    period of telemetry at either side.

    Growth between two readings is shared out evenly. A fall is an engine that began to count anew.
    """
    read = sorted((s.t_ns, s.values[name]) for s in samples if name in s.values)
    if not read or read[0][0] - from_ns > UNREAD_S * 1e9 or to_ns - read[-1][0] > UNREAD_S * 1e9:
        return None
    grown = np.cumsum([0.0, *(max(0.0, later[1] - before[1]) for before, later in pairwise(read))])
    at = np.interp([from_ns, to_ns], [t for t, _ in read], grown)
    return float(at[1] - at[0])


def tokens_per_event(exchanges: Sequence[Exchange]) -> float | None:
    """How many tokens an event with content stands for, on average; None without any event."""
    events = sum(len(x.event_ns) for x in exchanges)
    return sum(x.tokens for x in exchanges if len(x.event_ns)) / events if events else None


def event_weights(exchanges: Sequence[Exchange]) -> Floats:
    """Tokens per event, of all exchanges.

    Where the dialect states how many tokens an event carries, that is its share; else engines bundle tokens
    unseen, and the events of an exchange share its count evenly. Either way their sum is the exchange's count.
    A cut or failed exchange seldom has a count: its events stand for as many tokens as those of the counted
    ones, else its share would be too small.
    """
    usual = tokens_per_event([x for x in exchanges if x.counted])
    each = [_weights(x, 1.0 if usual is None else usual) for x in exchanges]
    return np.concatenate([np.empty(0), *each])


def _all_of(counts: Sequence[int], requests: Sequence[Exchange]) -> int | None:
    return sum(counts) if requests and len(counts) == len(requests) else None


def _weights(x: Exchange, usual: float) -> Floats:
    events = len(x.event_ns)
    if not events or not x.counted:
        return np.full(events, usual)
    stated = float(x.stated_tokens.sum())
    if stated > 0:
        return x.stated_tokens.astype(float) * (x.tokens / stated)
    return np.full(events, x.tokens / events)
