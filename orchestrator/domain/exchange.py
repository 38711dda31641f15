"""One request and its reply, raw, with times.

All times are nanoseconds of CLOCK_MONOTONIC, which the load client's process, telemetry and the
orchestrator share. A time that never came is 0.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

import numpy as np
import numpy.typing as npt

Nanoseconds = npt.NDArray[np.int64]
Counts = npt.NDArray[np.int64]


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


class TokenSource(str, Enum):
    """Who counted an answer's tokens, the most trusted first."""

    USAGE = "usage"
    STATED = "stated"
    TOKENIZER = "tokenizer"
    EVENTS = "events"


def _none() -> Counts:
    return np.empty(0, np.int64)


@dataclass(frozen=True, slots=True)
class Exchange:
    """Everything known of one request.

    `send_ns` is taken right before the request's bytes are handed to the socket. `event_ns` holds the
    arrival of each event with generated content, first to last; `first_event_ns` is the first event of
    any kind (a role-only chunk counts), `first_token_ns` the first with generated content,
    `first_visible_ns` the first whose text is not only reasoning. `connects` counts connections opened
    for it (0 on a kept-alive one).

    `scheduled_ns` is when an open loop meant to send it; 0 in a closed loop. Of the lists beside `event_ns`,
    which are as long as it or empty, `event_tokens` holds what the dialect states of each event, and
    `literal_tokens` each event's text stripped and tokenised again, as the article's client counted.
    `text_tokens` is the whole text tokenised again.
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
    event_ns: Nanoseconds = field(default_factory=_none)
    status: int = 0
    detail: str = ""
    finish_reason: str = ""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    text_chars: int = 0
    connects: int = 0
    scheduled_ns: int = 0
    event_tokens: Counts = field(default_factory=_none)
    literal_tokens: Counts = field(default_factory=_none)
    text_tokens: int | None = None

    @property
    def tokens_from(self) -> TokenSource:
        return self._count[0]

    @property
    def tokens(self) -> int:
        """Generated tokens by the first source that there is."""
        return self._count[1]

    @property
    def counted(self) -> bool:
        """Whether somebody counted its tokens, so that they need not be guessed from its events."""
        return self.tokens_from is not TokenSource.EVENTS

    @property
    def _count(self) -> tuple[TokenSource, int]:
        if self.completion_tokens is not None:
            return TokenSource.USAGE, self.completion_tokens
        if len(self.event_tokens):
            return TokenSource.STATED, int(self.event_tokens.sum())
        if self.text_tokens is not None:
            return TokenSource.TOKENIZER, self.text_tokens
        return TokenSource.EVENTS, len(self.event_ns)
