"""Wire shapes: how a request is written and what its events mean. Pure.

A token event is one that carries generated content: text, reasoning or a tool call; also empty text
without a role or a finish reason (a token whose bytes are not yet a character). A chunk that only
announces the role is never a token.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from backends.contract import Dialect, RequestField, RequestSpec
from orchestrator.domain.exchange import Exchange, Outcome
from orchestrator.domain.workload import Sampling
from orchestrator.load.spec import Reply
from orchestrator.load.sse import events

DETAIL_CHARS = 300
HTTP_OK = 200
_DONE = b"[DONE]"

PATHS = {
    Dialect.OPENAI_CHAT: "/v1/chat/completions",
    Dialect.OPENAI_COMPLETIONS: "/v1/completions",
}


def path(request: RequestSpec) -> str:
    """Where requests of this release go."""
    return request.path or PATHS[request.dialect]


def body(request: RequestSpec, model: str, prompt: str, system: str | None, sampling: Sampling) -> bytes:
    """The JSON body of one streaming request. Every sampling field that the release takes is sent, so that
    no default of the engine or of the model's generation_config decides."""
    optional: dict[RequestField, dict[str, Any]] = {
        RequestField.TEMPERATURE: {"temperature": sampling.temperature},
        RequestField.TOP_P: {"top_p": sampling.top_p},
        RequestField.USAGE: {"stream_options": {"include_usage": True}},
        RequestField.SEED: {} if sampling.seed is None else {"seed": sampling.seed},
        RequestField.IGNORE_EOS: {"ignore_eos": True} if sampling.ignore_eos else {},
    }
    fields: dict[str, Any] = {
        "model": model,
        **_PROMPTS[request.dialect](prompt, system),
        "max_tokens": sampling.max_tokens,
        "stream": True,
    }
    for name, value in optional.items():
        if name not in request.refused:
            fields.update(value)
    return json.dumps({**fields, **request.fields}, ensure_ascii=False).encode()


def exchange(dialect: Dialect, reply: Reply) -> Exchange:
    """What a raw reply says: its token times, counts and how it ended."""
    reading = _Reading()
    if reply.status == HTTP_OK:
        _read(reading, dialect, reply)
    outcome, detail = _outcome(reply, reading)
    return Exchange(
        id=reply.id,
        user=reply.user,
        prompt=reply.prompt,
        send_ns=reply.send_ns,
        end_ns=reply.end_ns,
        outcome=outcome,
        headers_ns=reply.headers_ns,
        first_event_ns=reading.first_event_ns,
        first_token_ns=reading.token_ns[0] if reading.token_ns else 0,
        first_visible_ns=reading.first_visible_ns,
        event_ns=np.array(reading.token_ns, np.int64),
        status=reply.status,
        detail=detail,
        finish_reason=reading.finish_reason,
        prompt_tokens=reading.prompt_tokens,
        completion_tokens=reading.completion_tokens,
        text_chars=reading.text_chars,
        connects=reply.connects,
    )


@dataclass(slots=True)
class _Reading:
    """What has been understood of one stream so far."""

    token_ns: list[int] = field(default_factory=list)
    first_event_ns: int = 0
    first_visible_ns: int = 0
    text_chars: int = 0
    finish_reason: str = ""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    done: bool = False
    error: str = ""
    malformed: str = ""


def _read(reading: _Reading, dialect: Dialect, reply: Reply) -> None:
    content = _CONTENTS[dialect]
    for t_ns, data in events(reply.times_ns, reply.pieces):
        reading.first_event_ns = reading.first_event_ns or t_ns
        if data == _DONE:
            reading.done = True
            continue
        try:
            _take(reading, t_ns, json.loads(data), content)
        except (ValueError, AttributeError, TypeError):  # no JSON, or not of this shape
            reading.malformed = data[:DETAIL_CHARS].decode(errors="replace")


def _take(reading: _Reading, t_ns: int, event: dict[str, Any], content: Callable[..., _Content]) -> None:
    if event.get("error") or event.get("object") == "error":
        reading.error = json.dumps(event.get("error") or event)[:DETAIL_CHARS]
        return
    usage = event.get("usage")
    if isinstance(usage, dict):
        reading.prompt_tokens = _count(usage.get("prompt_tokens"), reading.prompt_tokens)
        reading.completion_tokens = _count(usage.get("completion_tokens"), reading.completion_tokens)
    for choice in event.get("choices") or ():
        found = content(choice)
        finish = choice.get("finish_reason")
        if found.present or (found.empty_text and not finish):
            reading.token_ns.append(t_ns)
            reading.text_chars += len(found.text)
            if found.text:
                reading.first_visible_ns = reading.first_visible_ns or t_ns
        if finish:
            reading.finish_reason = str(finish)


def _count(stated: Any, before: int | None) -> int | None:
    """A usage report's number; what was known before where it has none."""
    return stated if isinstance(stated, int) else before


@dataclass(frozen=True, slots=True)
class _Content:
    """What one choice of one event carries. `empty_text`: text that is there but empty, without a role."""

    present: bool
    text: str
    empty_text: bool


def _chat_content(choice: dict[str, Any]) -> _Content:
    delta = choice.get("delta") or {}
    text = delta.get("content") or ""
    other = delta.get("reasoning_content") or delta.get("reasoning") or delta.get("tool_calls")
    empty = delta.get("content") == "" and "role" not in delta
    return _Content(present=bool(text or other), text=text, empty_text=empty and not other)


def _completion_content(choice: dict[str, Any]) -> _Content:
    text = choice.get("text") or ""
    return _Content(present=bool(text), text=text, empty_text=choice.get("text") == "")


def _chat_prompt(prompt: str, system: str | None) -> dict[str, Any]:
    messages = [{"role": "system", "content": system}] if system else []
    return {"messages": [*messages, {"role": "user", "content": prompt}]}


def _completion_prompt(prompt: str, system: str | None) -> dict[str, Any]:
    return {"prompt": f"{system}\n\n{prompt}" if system else prompt}


def _outcome(reply: Reply, reading: _Reading) -> tuple[Outcome, str]:
    """The transport's word first, then the content's: HTTP 200 proves nothing about a stream."""
    if reply.outcome is not Outcome.OK:
        return reply.outcome, reply.detail
    if reply.status != HTTP_OK:
        text = b"".join(reply.pieces)[:DETAIL_CHARS].decode(errors="replace")
        return Outcome.HTTP_STATUS, f"HTTP {reply.status}: {text}"
    return _content_outcome(reading)


def _content_outcome(reading: _Reading) -> tuple[Outcome, str]:
    faults = (
        (reading.error != "", Outcome.ENGINE_ERROR, reading.error),
        # an engine that is stopped may end its streams so, under HTTP 200 (cpu-engine.md, section 5)
        (reading.finish_reason == "abort", Outcome.ABORTED, "the engine aborted the stream"),
        (reading.malformed != "", Outcome.MALFORMED, f"not an event of this dialect: {reading.malformed}"),
        (
            not (reading.finish_reason or reading.done),
            Outcome.DISCONNECT,
            "the stream ended without a finish reason",
        ),
        (
            not reading.token_ns and reading.finish_reason != "stop",
            Outcome.EMPTY,
            "the stream ended well but carried no token",
        ),
    )
    return next(((outcome, detail) for is_so, outcome, detail in faults if is_so), (Outcome.OK, ""))


_PROMPTS = {Dialect.OPENAI_CHAT: _chat_prompt, Dialect.OPENAI_COMPLETIONS: _completion_prompt}
_CONTENTS = {Dialect.OPENAI_CHAT: _chat_content, Dialect.OPENAI_COMPLETIONS: _completion_content}
