"""What a wire shape is, and what it makes of one event. Pure.

A token event is one that carries generated content: text, reasoning or a tool call; also empty text
without a role or a finish reason (a token whose bytes are not yet a character). A chunk that only
announces the role is never a token.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic_core import from_json

from backends.contract import RequestField, Template
from orchestrator.domain.exchange import CountedBy
from orchestrator.domain.prompt import Message
from orchestrator.domain.workload import Sampling
from orchestrator.load import sse

DETAIL_CHARS = 300
_COUNT_MAX = 2**31


@dataclass(frozen=True, slots=True)
class Ask:
    """What one request asks. `prompt` is text, or token ids where the client renders the template; there is
    a system prompt and earlier turns only where it does not."""

    model: str
    prompt: str | Sequence[int]
    system: str | None
    sampling: Sampling
    history: tuple[Message, ...] = ()


@dataclass(slots=True)
class Said:
    """What one event says. `token`: it carries generated content. `text`: the visible part of that.
    `completion_tokens`: the engine's own count up to and with this event."""

    token: bool = False
    text: str = ""
    finish: str = ""
    done: bool = False
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    error: str = ""


class Shape(ABC):
    """One wire shape.

    `counted_by` is what a count rests on where the engine tells none. `marked`: an answer ends with a
    finish reason or an end mark; otherwise with its body. `opens_empty`: a first event with empty text may
    only announce the answer, so it is no token. `conversations`: a request can hold earlier turns. `counts`: a
    reply can state a number of tokens.
    """

    path: ClassVar[str]
    templates: ClassVar[frozenset[Template]]
    counted_by: ClassVar[CountedBy] = CountedBy.NONE
    marked: ClassVar[bool] = True
    opens_empty: ClassVar[bool] = False
    conversations: ClassVar[bool] = False
    counts: ClassVar[bool] = True

    @abstractmethod
    def required(self, ask: Ask) -> dict[str, Any]:
        """The part of the body that every request has."""

    @abstractmethod
    def optional(self, sampling: Sampling) -> dict[RequestField, dict[str, Any]]:
        """How the fields are written that this shape can carry; a release may refuse some of them."""

    def frames(self, times_ns: Sequence[int], pieces: Sequence[bytes]) -> Iterator[tuple[int, bytes]]:
        """(arrival in ns, bytes) of each event."""
        return sse.events(times_ns, pieces)

    @abstractmethod
    def said(self, data: bytes) -> Said:
        """What one event says. ValueError, TypeError or AttributeError where it is not of this shape."""


def parsed(data: bytes) -> dict[str, Any]:
    """The JSON object of an event. The fast parser reads nearly all; what it refuses, such as half a pair of
    surrogates, is for the standard library to judge."""
    try:
        event = from_json(data)
    except ValueError:
        event = _parsed_with_care(data)
    if not isinstance(event, dict):
        raise TypeError("not an object")
    return event


def error_of(event: dict[str, Any]) -> str:
    """What an error event says, in either of the two usual shapes; empty for any other event."""
    if event.get("error") or event.get("object") == "error":
        return json.dumps(event.get("error") or event)[:DETAIL_CHARS]
    return ""


def text_of(value: Any) -> str:
    """Generated text; null is none."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise TypeError("text that is none")
    return value


def count_of(value: Any) -> int | None:
    """A stated number of tokens; None for what cannot be one."""
    return value if type(value) is int and 0 <= value < _COUNT_MAX else None


def word_of(value: Any) -> str:
    """A finish reason, fit to be stored; null and empty are none."""
    return str(value)[:DETAIL_CHARS].encode(errors="replace").decode() if value else ""


def _parsed_with_care(data: bytes) -> Any:
    try:
        return json.loads(data)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
