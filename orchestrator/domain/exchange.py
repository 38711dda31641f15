"""One request and its reply, raw, with times.

All times are nanoseconds of CLOCK_MONOTONIC, which the load client's process, telemetry and the
orchestrator share. A time that never came is 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from itertools import accumulate

import numpy as np
import numpy.typing as npt

UNSTAMPED = -1  # the lag of an event whose arrival the kernel did not stamp

Nanoseconds = npt.NDArray[np.int64]
TokenCounts = npt.NDArray[np.int32]


class Outcome(str, Enum):
    """How an exchange ended. CUT is ours (the measurement was over), not a failure of the engine."""

    OK = "ok"
    CUT = "cut"
    CONNECT = "connect"
    HTTP_STATUS = "http-status"
    DISCONNECT = "disconnect"
    STALL = "stall"
    TIMEOUT = "timeout"
    ENGINE_ERROR = "engine-error"
    ABORTED = "aborted"
    MALFORMED = "malformed"
    EMPTY = "empty"

    @property
    def failed(self) -> bool:
        return self not in (Outcome.OK, Outcome.CUT)


class CountedBy(str, Enum):
    """What an exchange's number of tokens rests on, the most trusted first.

    USAGE: the engine's own total, told once. CUMULATIVE: the engine's own count so far, told with every
    event. EVENTS: the wire shape's promise of one event per token. TOKENIZER: the text tokenised again.
    NONE: events, of which each may stand for several tokens.
    """

    USAGE = "usage"
    CUMULATIVE = "cumulative"
    EVENTS = "events"
    TOKENIZER = "tokenizer"
    NONE = "none"


_STATED = (CountedBy.CUMULATIVE, CountedBy.EVENTS)


def _no_events() -> Nanoseconds:
    return np.empty(0, np.int64)


def _no_counts() -> TokenCounts:
    return np.empty(0, np.int32)


@dataclass(frozen=True, slots=True)
class Exchange:
    """Everything known of one request.

    `send_ns` is right before the call in which the kernel took the request's last byte. Arrivals are the
    kernel's stamps where it gave any, else our own: `stamped` of `reads` have one; `coalesced` of them held
    several pieces of body, of which the stamp is the last one's. `event_lag_ns` says of each event how long
    after its stamp we had it, UNSTAMPED where there was none, and `lag_max_ns` is the longest such time of
    any read. `event_ns` holds the arrival of each event with generated content, first to last,
    `event_tokens` how many tokens each of them brought: as the engine told (CUMULATIVE), else 1.
    `first_event_ns` is the first event of any kind (a role-only chunk counts), `first_token_ns` the first
    with generated content, `first_visible_ns` the first whose text is not only reasoning. `connects` counts
    connections opened for it (0 on a kept-alive one). `expected_prompt_tokens` is the length of the prompt
    as the model's own template renders it, to be compared with the engine's `prompt_tokens`.

    `scheduled_ns` is when an open loop meant to send it; 0 in a closed loop. One that was due and never sent,
    because no more might be in flight, was CUT with a `send_ns` of 0. `literal_tokens` is each event's
    text stripped and tokenised again, as the article's client counted, or empty; `text_tokens` is the whole
    text tokenised again. `text` is everything visible that was generated and `event_chars` how much of it each
    event brought: they are looked at right after the load and not stored. `canary` says which of the canaries
    it was, if one.
    """

    id: str
    user: int
    prompt: int
    send_ns: int
    end_ns: int
    outcome: Outcome
    headers_ns: int = 0
    first_event_ns: int = 0
    first_token_ns: int = 0
    first_visible_ns: int = 0
    event_ns: Nanoseconds = field(default_factory=_no_events)
    event_tokens: TokenCounts = field(default_factory=_no_counts)
    status: int = 0
    detail: str = ""
    finish_reason: str = ""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    counted_by: CountedBy = CountedBy.NONE
    expected_prompt_tokens: int | None = None
    text_chars: int = 0
    connects: int = 0
    reads: int = 0
    stamped: int = 0
    coalesced: int = 0
    lag_max_ns: int = 0
    event_lag_ns: Nanoseconds = field(default_factory=_no_events)
    scheduled_ns: int = 0
    literal_tokens: TokenCounts = field(default_factory=_no_counts)
    text_tokens: int | None = None
    canary: int | None = None
    text: str = ""
    event_chars: TokenCounts = field(default_factory=_no_counts)

    @property
    def begin_ns(self) -> int:
        """What latencies count from: when an open loop meant to send it, else when it was sent."""
        return self.scheduled_ns or self.send_ns

    @property
    def event_texts(self) -> Iterator[str]:
        """The text of each event with generated content."""
        ends = accumulate(self.event_chars.tolist())
        return (self.text[end - n : end] for end, n in zip(ends, self.event_chars.tolist(), strict=True))

    @property
    def stated_tokens(self) -> TokenCounts:
        """Tokens of each event, where somebody states them."""
        return self.event_tokens if self.counted_by in _STATED else _no_counts()

    @property
    def tokens_from(self) -> CountedBy:
        return self._count[0]

    @property
    def tokens(self) -> int:
        """Generated tokens by the first source that there is."""
        return self._count[1]

    @property
    def counted(self) -> bool:
        """Whether somebody counted its tokens, so that they need not be guessed from its events."""
        return self.tokens_from is not CountedBy.NONE

    @property
    def _count(self) -> tuple[CountedBy, int]:
        if self.completion_tokens is not None:
            told = CountedBy.CUMULATIVE if self.counted_by is CountedBy.CUMULATIVE else CountedBy.USAGE
            return told, self.completion_tokens
        if len(self.stated_tokens):
            return self.counted_by, int(self.stated_tokens.sum())
        if self.text_tokens is not None:
            return CountedBy.TOKENIZER, self.text_tokens
        return CountedBy.NONE, len(self.event_ns)
