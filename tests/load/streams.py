"""Replies made by hand: bodies in pieces, read as a wire shape; and valid streams of every shape for fuzzing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from backends.contract import Dialect
from orchestrator.domain.exchange import Exchange, Outcome
from orchestrator.load.dialects import exchange
from orchestrator.load.spec import Reply

Json = dict[str, Any]
DONE = b"data: [DONE]\n\n"
ROLE: Json = {"choices": [{"delta": {"role": "assistant", "content": ""}, "finish_reason": None}]}


def sse(value: Json) -> bytes:
    return b"data: " + json.dumps(value, ensure_ascii=False).encode() + b"\n\n"


def read(
    pieces: Sequence[bytes],
    dialect: Dialect = Dialect.OPENAI_CHAT,
    *,
    status: int = 200,
    outcome: Outcome = Outcome.OK,
) -> Exchange:
    """What the pieces mean, the k-th arriving at 10 * (k + 1) ns."""
    times = [10 * (k + 1) for k in range(len(pieces))]
    reply = Reply(id="x", user=0, prompt=0, send_ns=1, end_ns=99999, outcome=outcome, status=status)
    reply.times_ns, reply.pieces = times, list(pieces)
    return exchange(dialect, reply)


def cut(body: bytes, at: Sequence[int]) -> list[bytes]:
    """The body in pieces."""
    bounds = [0, *sorted(i for i in at if i < len(body)), len(body)]
    return [body[a:b] for a, b in pairwise(bounds) if b > a]


def chat(text: str | None, **choice: Any) -> Json:
    return {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None, **choice}]}


def completion(text: str, **choice: Any) -> Json:
    return {"choices": [{"index": 0, "text": text, "finish_reason": None, **choice}]}


def usage(completion_tokens: int, prompt_tokens: int = 7) -> Json:
    return {"usage": {"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens}}


def token(text: str, *, special: bool = False, details: Json | None = None) -> Json:
    """One event of generate-stream; the last one has details."""
    said = {"id": 5, "text": text, "logprob": -0.5, "special": special}
    generated = None if details is None else "all of it"
    return {"index": 1, "token": said, "generated_text": generated, "details": details}


def compact(value: Json) -> bytes:
    """As axum writes it: no space after the colon."""
    return b"data:" + json.dumps(value, ensure_ascii=False).encode() + b"\n\n"


def tensor(text: str) -> Json:
    return {"model_name": "ensemble", "model_version": "1", "sequence_end": False, "text_output": text}


def line(text: str, tokens: int, finish: str | None = None) -> bytes:
    said = {"text": text, "tokens": tokens, "input_tokens": 7, "history_tokens": 0, "finish_reason": finish}
    return json.dumps(said, ensure_ascii=False).encode() + b"\n"


@dataclass
class Written:
    """A valid stream of one shape and what it must be read as. `text` is all of the visible text."""

    dialect: Dialect
    body: bytes
    text: str
    event_tokens: list[int] = field(default_factory=list)
    completion_tokens: int | None = None
