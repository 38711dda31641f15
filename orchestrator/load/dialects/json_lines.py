"""Bare JSON lines, each with the number of tokens so far; the last one has a finish reason."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from backends.contract import RequestField, Template
from orchestrator.domain.workload import Sampling
from orchestrator.load.dialects.openai import messages
from orchestrator.load.dialects.shape import Ask, Said, Shape, count_of, error_of, parsed, text_of, word_of
from orchestrator.load.frames import frames

_LINE = re.compile(rb"\n")


class JsonLines(Shape):
    path = "/v1/chat/interactive"
    templates = frozenset({Template.MESSAGES})
    conversations = True

    def required(self, ask: Ask) -> dict[str, Any]:
        return {
            "prompt": messages(ask),
            "request_output_len": ask.sampling.max_tokens,
            "stream": True,
            "interactive_mode": False,
        }

    def optional(self, sampling: Sampling) -> dict[RequestField, dict[str, Any]]:
        """Counts come unasked."""
        return {
            RequestField.TEMPERATURE: {"temperature": sampling.temperature},
            RequestField.TOP_P: {"top_p": sampling.top_p},
            RequestField.USAGE: {},
            RequestField.IGNORE_EOS: {"ignore_eos": True} if sampling.ignore_eos else {},
        }

    def frames(self, times_ns: Sequence[int], pieces: Sequence[bytes]) -> Iterator[tuple[int, bytes]]:
        return ((t_ns, line) for t_ns, line in frames(times_ns, pieces, _LINE) if line.strip())

    def said(self, data: bytes) -> Said:
        event = parsed(data)
        error = error_of(event)
        if error:
            return Said(error=error)
        text, tokens = text_of(event["text"]), count_of(event["tokens"])
        finish = word_of(event.get("finish_reason"))
        return Said(
            token=bool(text) or (bool(tokens) and not finish),
            text=text,
            finish=finish,
            prompt_tokens=count_of(event.get("input_tokens")),
            completion_tokens=tokens,
        )
