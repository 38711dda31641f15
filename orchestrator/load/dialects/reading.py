"""A raw reply -> an exchange: which events are tokens, how many each holds, and how the answer ended. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from orchestrator.domain.exchange import CountedBy, Exchange, Outcome
from orchestrator.load import sse
from orchestrator.load.dialects.shape import DETAIL_CHARS, Said, Shape
from orchestrator.load.spec import HTTP_OK, Reply


def exchange(shape: Shape, reply: Reply) -> Exchange:
    """What a raw reply says: its token times, counts and how it ended."""
    reading = _Reading()
    if reply.status == HTTP_OK:
        _read(reading, shape, reply)
    outcome, detail = _outcome(reply, shape, reading)
    events, counted_by = _tokens(reading, shape)
    token_ns = [event.t_ns for event in events]
    return Exchange(
        id=reply.id,
        user=reply.user,
        prompt=reply.prompt,
        send_ns=reply.send_ns,
        end_ns=reply.end_ns,
        outcome=outcome,
        headers_ns=reply.headers_ns,
        first_event_ns=reading.first_event_ns,
        first_token_ns=token_ns[0] if token_ns else 0,
        first_visible_ns=reading.first_visible_ns,
        event_ns=np.array(token_ns, np.int64),
        event_tokens=np.array([event.tokens for event in events], np.int32),
        status=reply.status,
        detail=detail,
        finish_reason=reading.finish_reason,
        prompt_tokens=reading.prompt_tokens,
        completion_tokens=reading.completion_tokens,
        counted_by=counted_by,
        text_chars=reading.text_chars,
        connects=reply.connects,
        scheduled_ns=reply.scheduled_ns,
        text="".join(event.text for event in events),
        event_chars=np.array([len(event.text) for event in events], np.int32),
    )


_Moment = tuple[int, Said]  # arrival, and what the event said


class _Event(NamedTuple):
    """One token event: arrival, how many tokens it brought, the text."""

    t_ns: int
    tokens: int
    text: str


@dataclass(slots=True)
class _Reading:
    """What has been understood of one stream so far. `moments` are its events up to the finish reason."""

    moments: list[_Moment] = field(default_factory=list)
    first_event_ns: int = 0
    first_visible_ns: int = 0
    text_chars: int = 0
    finish_reason: str = ""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    done: bool = False
    error: str = ""
    malformed: str = ""

    @property
    def has_content(self) -> bool:
        return any(said.token for _, said in self.moments)


def _read(reading: _Reading, shape: Shape, reply: Reply) -> None:
    for t_ns, data in shape.frames(reply.times_ns, reply.pieces):
        _take(reading, shape, t_ns, data)
    body = b"".join(reply.pieces)
    if not reading.first_event_ns and body.strip() and not sse.is_spoken(body):
        _take(reading, shape, reply.times_ns[-1], body)  # some engines answer 200 with an error object
        if not reading.error:
            reading.malformed = _shown(body)


def _take(reading: _Reading, shape: Shape, t_ns: int, data: bytes) -> None:
    is_first = not reading.first_event_ns
    reading.first_event_ns = reading.first_event_ns or t_ns
    try:
        said = shape.said(data)
    except (ValueError, AttributeError, TypeError, KeyError):  # no JSON, or not of this shape
        reading.malformed = _shown(data)
        return
    if is_first and shape.opens_empty and not said.text:
        said.token = False
    _keep(reading, t_ns, said)


def _keep(reading: _Reading, t_ns: int, said: Said) -> None:
    reading.done = reading.done or said.done
    reading.error = said.error or reading.error
    if said.prompt_tokens is not None:
        reading.prompt_tokens = said.prompt_tokens
    if said.completion_tokens is not None:
        reading.completion_tokens = said.completion_tokens
    if said.token or not reading.finish_reason:
        reading.moments.append((t_ns, said))
    if said.text:
        reading.first_visible_ns = reading.first_visible_ns or t_ns
        reading.text_chars += len(said.text)
    reading.finish_reason = said.finish or reading.finish_reason


def _tokens(reading: _Reading, shape: Shape) -> tuple[list[_Event], CountedBy]:
    """The token events, and what their numbers of tokens rest on."""
    content = [(t_ns, said) for t_ns, said in reading.moments if said.token]
    if content and all(said.completion_tokens is not None for _, said in content):
        return _counted(reading.moments), CountedBy.CUMULATIVE
    counted_by = shape.counted_by if reading.completion_tokens is None else CountedBy.USAGE
    return [_Event(t_ns, 1, said.text) for t_ns, said in content], counted_by


def _counted(moments: list[_Moment]) -> list[_Event]:
    """Where every event with content tells how many tokens there are by then, a rise of the count is an
    arrival too: tokens may come whose text is held back."""
    events, before = [], 0
    for t_ns, said in moments:
        by_now = before if said.completion_tokens is None else max(before, said.completion_tokens)
        if said.token or by_now > before:
            events.append(_Event(t_ns, by_now - before, said.text))
        before = by_now
    return events


def _outcome(reply: Reply, shape: Shape, reading: _Reading) -> tuple[Outcome, str]:
    """The transport's word first, then the content's: HTTP 200 proves nothing about a stream."""
    if reply.outcome is not Outcome.OK:
        return reply.outcome, reply.detail
    if reply.status != HTTP_OK:
        return Outcome.HTTP_STATUS, f"HTTP {reply.status}: {_shown(b''.join(reply.pieces))}"
    return _content_outcome(shape, reading)


def _content_outcome(shape: Shape, reading: _Reading) -> tuple[Outcome, str]:
    ended = bool(reading.finish_reason) or reading.done or not shape.marked
    faults = (
        (reading.error != "", Outcome.ENGINE_ERROR, reading.error),
        # an engine that is stopped may end its streams so, under HTTP 200 (cpu-engine.md, section 5)
        (reading.finish_reason == "abort", Outcome.ABORTED, "the engine aborted the stream"),
        (reading.malformed != "", Outcome.MALFORMED, f"not an event of this dialect: {reading.malformed}"),
        (not ended, Outcome.DISCONNECT, "the stream ended without a finish reason"),
        (
            not reading.has_content and reading.finish_reason != "stop",
            Outcome.EMPTY,
            "the stream ended well but carried no token",
        ),
    )
    return next(((outcome, detail) for is_so, outcome, detail in faults if is_so), (Outcome.OK, ""))


def _shown(data: bytes) -> str:
    return data[:DETAIL_CHARS].decode(errors="replace")
