"""One event per token with the token's id; parameters in an object of their own; no end mark."""

from __future__ import annotations

from typing import Any

from backends.contract import RequestField, Template
from orchestrator.domain.exchange import CountedBy
from orchestrator.domain.workload import Sampling
from orchestrator.load.dialects.openai import plain
from orchestrator.load.dialects.shape import Ask, Said, Shape, count_of, error_of, parsed, text_of, word_of


class GenerateStream(Shape):
    path = "/generate_stream"
    templates = frozenset({Template.MESSAGES, Template.TEXT, Template.TEXT_WITH_BOS})
    counted_by = CountedBy.EVENTS

    def required(self, ask: Ask) -> dict[str, Any]:
        return {"inputs": plain(ask), "parameters": {"max_new_tokens": ask.sampling.max_tokens}}

    def optional(self, sampling: Sampling) -> dict[RequestField, dict[str, Any]]:
        """A temperature of 0 and a top_p of 1 are refused there; both mean that the field is left out."""
        sampled = {"do_sample": True, "temperature": sampling.temperature}
        found: dict[RequestField, dict[str, Any]] = {
            RequestField.TEMPERATURE: sampled if sampling.temperature else {"do_sample": False},
            RequestField.TOP_P: {"top_p": sampling.top_p} if sampling.top_p < 1 else {},
            RequestField.USAGE: {"details": True},
            RequestField.SEED: {} if sampling.seed is None else {"seed": sampling.seed},
        }
        return {name: {"parameters": value} for name, value in found.items()}

    def said(self, data: bytes) -> Said:
        event = parsed(data)
        error = error_of(event)
        if error:
            return Said(error=error)
        token, details = event.get("token"), event.get("details") or {}
        text = text_of(token["text"]) if token else ""
        return Said(
            token=bool(token),
            text="" if token and token.get("special") else text,
            finish=word_of(details.get("finish_reason")),
            done=event.get("generated_text") is not None,
            prompt_tokens=count_of(details.get("input_length")),
            completion_tokens=count_of(details.get("generated_tokens")),
        )
