"""Wire shapes: how a request is written and what its reply means (docs/dialects.md). Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from backends.contract import Dialect, RequestField, RequestSpec, Template
from orchestrator.domain.exchange import Exchange
from orchestrator.domain.prompt import Message
from orchestrator.domain.workload import Sampling
from orchestrator.load.dialects import reading
from orchestrator.load.dialects.generate_stream import GenerateStream
from orchestrator.load.dialects.json_lines import JsonLines
from orchestrator.load.dialects.openai import OpenaiChat, OpenaiCompletions
from orchestrator.load.dialects.raw_text import RawText
from orchestrator.load.dialects.shape import Ask, Shape
from orchestrator.load.dialects.tensor_stream import TensorStream
from orchestrator.load.spec import Reply

__all__ = [
    "SHAPES",
    "body",
    "carries",
    "conversations",
    "exchange",
    "path",
    "templates",
    "uncounted",
]

SHAPES: dict[Dialect, Shape] = {
    Dialect.OPENAI_CHAT: OpenaiChat(),
    Dialect.OPENAI_COMPLETIONS: OpenaiCompletions(),
    Dialect.GENERATE_STREAM: GenerateStream(),
    Dialect.TENSOR_STREAM: TensorStream(),
    Dialect.JSON_LINES: JsonLines(),
    Dialect.RAW_TEXT: RawText(),
}


def path(request: RequestSpec) -> str:
    """Where requests of this release go."""
    return request.path or SHAPES[request.dialect].path


def carries(request: RequestSpec, field: RequestField) -> bool:
    """Whether a request can say this: its wire shape knows the field and the release takes it."""
    known = SHAPES[request.dialect].optional(Sampling(seed=0, ignore_eos=True))
    return field in known and field not in request.refused


def templates(dialect: Dialect) -> frozenset[Template]:
    """Who may render the chat template, given what a prompt of this shape can be."""
    return SHAPES[dialect].templates


def uncounted(dialect: Dialect) -> bool:
    """Whether no reply of this shape can state a number of tokens."""
    return not SHAPES[dialect].counts


def conversations(dialect: Dialect) -> bool:
    """Whether a request of this shape can hold earlier turns."""
    return SHAPES[dialect].conversations


def body(
    request: RequestSpec,
    model: str,
    prompt: str | Sequence[int],
    system: str | None,
    sampling: Sampling,
    history: tuple[Message, ...] = (),
) -> bytes:
    """The JSON body of one streaming request. Every sampling field that the release takes is sent, so that
    no default of the engine or of the model's generation_config decides."""
    shape = SHAPES[request.dialect]
    fields = shape.required(Ask(model, prompt, system, sampling, history))
    for name, value in shape.optional(sampling).items():
        if name not in request.refused:
            fields = _merged(fields, value)
    return json.dumps(_merged(fields, request.fields), ensure_ascii=False).encode()


def exchange(dialect: Dialect, reply: Reply) -> Exchange:
    """What a raw reply says: its token times, counts and how it ended."""
    return reading.exchange(SHAPES[dialect], reply)


def _merged(fields: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """`more` wins; objects are merged, so that one field of an inner object can be set."""
    found = dict(fields)
    for name, value in more.items():
        inner = found.get(name)
        if isinstance(inner, dict) and isinstance(value, dict):
            found[name] = _merged(inner, value)
        else:
            found[name] = value
    return found
