"""Named tensors as JSON: one event per token, no count, no finish reason; the body's end is the end."""

from __future__ import annotations

from typing import Any

from backends.contract import RequestField, Template
from orchestrator.domain.exchange import CountedBy
from orchestrator.domain.workload import Sampling
from orchestrator.load.dialects.openai import plain
from orchestrator.load.dialects.shape import Ask, Said, Shape, error_of, parsed, text_of


class TensorStream(Shape):
    path = "/v2/models/ensemble/generate_stream"
    templates = frozenset({Template.MESSAGES, Template.TEXT, Template.TEXT_WITH_BOS})
    counted_by = CountedBy.EVENTS
    marked = False

    def required(self, ask: Ask) -> dict[str, Any]:
        return {"text_input": plain(ask), "max_tokens": ask.sampling.max_tokens, "stream": True}

    def optional(self, sampling: Sampling) -> dict[RequestField, dict[str, Any]]:
        """Without temperature and top_p the engine is greedy. An end cannot be ignored, but be put off."""
        sampled = sampling.temperature > 0
        return {
            RequestField.TEMPERATURE: {"temperature": sampling.temperature} if sampled else {},
            RequestField.TOP_P: {"top_p": sampling.top_p} if sampled else {},
            RequestField.SEED: {} if sampling.seed is None else {"random_seed": sampling.seed},
            RequestField.IGNORE_EOS: {"min_length": sampling.max_tokens} if sampling.ignore_eos else {},
        }

    def said(self, data: bytes) -> Said:
        event = parsed(data)
        error = error_of(event)
        if error:
            return Said(error=error)
        return Said(token=True, text=text_of(event["text_output"]))
