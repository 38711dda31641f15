"""The two shapes that most engines share: chat completions and completions."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from backends.contract import RequestField, Template
from orchestrator.domain.workload import Sampling
from orchestrator.load.dialects.shape import Ask, Said, Shape, count_of, error_of, parsed, text_of, word_of

_DONE = b"[DONE]"


class _Completions(Shape):
    """What both have in common. Engines that tell usage with every chunk tell it cumulatively."""

    def optional(self, sampling: Sampling) -> dict[RequestField, dict[str, Any]]:
        return {
            RequestField.TEMPERATURE: {"temperature": sampling.temperature},
            RequestField.TOP_P: {"top_p": sampling.top_p},
            RequestField.USAGE: {"stream_options": {"include_usage": True}},
            RequestField.SEED: {} if sampling.seed is None else {"seed": sampling.seed},
            RequestField.IGNORE_EOS: {"ignore_eos": True} if sampling.ignore_eos else {},
        }

    def said(self, data: bytes) -> Said:
        if data.strip() == _DONE:
            return Said(done=True)
        event = parsed(data)
        error = error_of(event)
        if error:
            return Said(error=error)
        found = Said()
        usage = event.get("usage")
        if isinstance(usage, dict):
            found.prompt_tokens = count_of(usage.get("prompt_tokens"))
            found.completion_tokens = count_of(usage.get("completion_tokens"))
        for choice in event.get("choices") or ():
            found.finish = word_of(choice.get("finish_reason")) or found.finish
            text, is_token = self._content(choice)
            found.text += text
            found.token = found.token or is_token
        return found

    @abstractmethod
    def _content(self, choice: dict[str, Any]) -> tuple[str, bool]:
        """The text of one choice, and whether it carries a token."""


class OpenaiChat(_Completions):
    path = "/v1/chat/completions"
    templates = frozenset({Template.MESSAGES})
    conversations = True

    def required(self, ask: Ask) -> dict[str, Any]:
        return {
            "model": ask.model,
            "messages": messages(ask),
            "max_tokens": ask.sampling.max_tokens,
            "stream": True,
        }

    def _content(self, choice: dict[str, Any]) -> tuple[str, bool]:
        delta = choice.get("delta") or {}
        text = text_of(delta.get("content"))
        hidden = (
            delta.get("reasoning_content")
            or delta.get("reasoning")
            or delta.get("tool_calls")
            or delta.get("function_call")
        )
        if text or hidden:
            return text, True
        # a token whose bytes are not yet a character; with a role or a finish reason it is not told apart
        return "", delta.get("content") == "" and "role" not in delta and not choice.get("finish_reason")


class OpenaiCompletions(_Completions):
    path = "/v1/completions"
    templates = frozenset(Template)
    opens_empty = True

    def required(self, ask: Ask) -> dict[str, Any]:
        return {
            "model": ask.model,
            "prompt": plain(ask),
            "max_tokens": ask.sampling.max_tokens,
            "stream": True,
        }

    def _content(self, choice: dict[str, Any]) -> tuple[str, bool]:
        text = text_of(choice.get("text"))
        return text, bool(text) or (choice.get("text") == "" and not choice.get("finish_reason"))


def messages(ask: Ask) -> list[dict[str, Any]]:
    """The whole conversation. An empty system message would be rendered by some templates."""
    system = [{"role": "system", "content": ask.system}] if ask.system else []
    history = [{"role": m.role, "content": m.content} for m in ask.history]
    return [*system, *history, {"role": "user", "content": ask.prompt}]


def plain(ask: Ask) -> str | list[int]:
    """A prompt where no roles are known: as rendered, else the system prompt first."""
    if not isinstance(ask.prompt, str):
        return list(ask.prompt)
    return f"{ask.system}\n\n{ask.prompt}" if ask.system else ask.prompt
