"""What engines write: the chunks of one streamed answer, per wire shape and habit. Standard library only."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]

# The model's begin-of-text in the requests of tests, as text and as a token id.
BOS, BOS_ID = "<s>", 0
# What every fake generates, over and over; the fourth is half of a character, which the fifth completes.
TEXTS = ("Hel", "lo", " w", "\ufffd", "\u00e9\u2028", "ld")
HELD_BACK = 3
NATURAL_LENGTH = 40
PROMPT_TOKENS = 7


class RefusedError(Exception):
    """A request that an engine would answer with an error: the status and the body."""

    def __init__(self, status: int, body: Json) -> None:
        super().__init__(status)
        self.status = status
        self.body = body


@dataclass(frozen=True)
class Answer:
    """The chunks to send before the engine has run, then one for each token, then what ends the answer."""

    tokens: int
    at_once: tuple[bytes, ...] = ()
    chunks: tuple[bytes, ...] = ()
    last: tuple[bytes, ...] = ()


@dataclass(frozen=True)
class Openai:
    """Habits of a server of OpenAI's routes.

    `first` is what announces the answer: "role" (with the first token), "role-null", "at-once" (before the
    engine has run) or "". `usage` is "asked" (a chunk of its own, if asked for), "always" (in the last
    chunk), "finish" (in the finish chunk), "every" (cumulative, in each chunk) or "". `held_back`: a token
    whose text is not yet a character comes as "empty" text, as a chunk of no "choices", or as "nothing".
    `whole_top_p`: a top_p of 1 is taken. `ignores_eos`: it can be told to; otherwise it does not hear that.
    """

    first: str = "role"
    role_in_each: bool = False
    usage: str = "asked"
    held_back: str = "empty"
    finish_with_token: bool = False
    no_finish: str | None = None
    done: bool = True
    after: str = ""
    whole_top_p: bool = True
    ignores_eos: bool = True

    def chat(self, body: Json) -> Answer:
        return self._answer(body, chat=True)

    def completions(self, body: Json) -> Answer:
        return self._answer(body, chat=False)

    def _answer(self, body: Json, *, chat: bool) -> Answer:
        if body.get("top_p") == 1 and not self.whole_top_p:
            raise RefusedError(422, {"error": "`top_p` is out of range", "error_type": "validation"})
        endless = self.ignores_eos and bool(body.get("ignore_eos"))
        count, finish = _length(body.get("max_tokens"), ignore_eos=endless)
        return Answer(
            tokens=count,
            at_once=tuple(self._announced(chat=chat)) if self.first == "at-once" else (),
            chunks=tuple(self._chunks(count, finish, chat=chat)),
            last=tuple(self._last(count, finish, body, chat=chat)),
        )

    def _announced(self, *, chat: bool) -> Iterator[bytes]:
        if not chat:
            if self.first == "at-once":
                yield self._event(self._choice("", None, chat=False))
        elif self.first:
            delta: Json = {"role": "assistant"}
            if self.first != "at-once":
                delta["content"] = None if self.first == "role-null" else ""
            yield self._event({"choices": [{"index": 0, "delta": delta, "finish_reason": None}]})

    def _chunks(self, count: int, finish: str, *, chat: bool) -> Iterator[bytes]:
        for i in range(count):
            text = TEXTS[i % len(TEXTS)]
            ends = finish if self.finish_with_token and i == count - 1 else self.no_finish
            value = self._choice(text, ends, chat=chat)
            if i % len(TEXTS) == HELD_BACK:
                value = self._choice("", ends, chat=chat)
                if self.held_back == "nothing" and not self.finish_with_token:
                    yield b""
                    continue
                if self.held_back == "choices":
                    value["choices"] = []
            if self.usage == "every" or (ends and self._tells_at_the_end(chat=chat)):
                value["usage"] = _usage(i + 1)
            elif self.usage == "asked" and chat:
                value["usage"] = None
            before = b"".join(self._announced(chat=chat)) if i == 0 and self.first != "at-once" else b""
            yield before + self._event(value)

    def _last(self, count: int, finish: str, body: Json, *, chat: bool) -> Iterator[bytes]:
        asked = bool((body.get("stream_options") or {}).get("include_usage"))
        if not self.finish_with_token:
            value = self._choice("", finish, chat=chat)
            if self.usage == "every" or self._tells_at_the_end(chat=chat):
                value["usage"] = _usage(count)
            yield self._event(value)
        if asked and self.usage in {"asked", "always"} and (chat or self.usage == "asked"):
            yield self._event({"choices": [], "usage": _usage(count)})
        if self.done:
            yield f"data: [DONE]{self.after}\n\n".encode()

    def _tells_at_the_end(self, *, chat: bool) -> bool:
        return self.usage == "finish" or (self.usage == "always" and not chat)

    def _choice(self, text: str, finish: str | None, *, chat: bool) -> Json:
        if not chat:
            return {"choices": [{"index": 0, "text": text, "finish_reason": finish}]}
        role = {"role": "assistant"} if self.role_in_each else {}
        return {"choices": [{"index": 0, "delta": {**role, "content": text}, "finish_reason": finish}]}

    def _event(self, value: Json) -> bytes:
        return f"data: {_text(value)}{self.after}\n\n".encode()


def token_events(body: Json) -> Answer:
    """One event per token, the last one with the whole text and, if asked for, details. No end mark."""
    parameters = body.get("parameters") or {}
    if "inputs" not in body:
        raise RefusedError(422, {"error": "missing field `inputs`", "error_type": "validation"})
    top_p, temperature = parameters.get("top_p"), parameters.get("temperature")
    if (top_p is not None and not 0 < top_p < 1) or (temperature is not None and temperature <= 0):
        said = {"error": "Input validation error: out of range", "error_type": "validation"}
        return Answer(tokens=0, last=(f"data:{_text(said)}\n\n".encode(),))
    count, finish = _length(parameters.get("max_new_tokens", 100))
    details = {"finish_reason": finish.replace("stop", "eos_token"), "generated_tokens": count, "seed": None}
    chunks = []
    for i in range(count):
        is_last = i == count - 1
        special = is_last and finish == "stop"
        token = {"id": i, "text": "<|eot_id|>" if special else TEXTS[i % len(TEXTS)], "special": special}
        event = {
            "index": i + 1,
            "token": {**token, "logprob": -0.1},
            "generated_text": "all of it" if is_last else None,
            "details": details if is_last and parameters.get("details") else None,
        }
        chunks.append(f"data:{_text(event)}\n\n".encode())
    return Answer(tokens=count, chunks=(b":\n\n" + chunks[0], *chunks[1:]))


def tensor_events(body: Json) -> Answer:
    """One event per token; every key beside the model's inputs is a parameter, which may be no object."""
    for name, value in body.items():
        if isinstance(value, dict):
            raise RefusedError(400, {"error": f"attempt to access JSON object as parameter: {name}"})
    if "text_input" not in body or "max_tokens" not in body:
        raise RefusedError(400, {"error": "[request id] expected number of inputs between 2 and 22"})
    if body.get("temperature") == 0:
        raise RefusedError(400, {"error": "temperature must be positive"})
    count, _ = _length(body["max_tokens"], ignore_eos=bool(body.get("min_length")))
    named = {"model_name": "ensemble", "model_version": "1", "sequence_end": False}
    texts = [TEXTS[i % len(TEXTS)] for i in range(count)]
    return Answer(
        tokens=count,
        chunks=tuple(f"data: {_text({**named, 'text_output': text})}\n\n".encode() for text in texts),
    )


def json_lines(body: Json) -> Answer:
    """Bare lines with the number of tokens so far; two tokens at a time, as a poll finds them."""
    if not isinstance(body.get("prompt"), list | str):
        raise RefusedError(422, {"detail": "prompt"})
    count, finish = _length(body.get("request_output_len", 512), ignore_eos=bool(body.get("ignore_eos")))
    lines = [
        _line("".join(TEXTS[k % len(TEXTS)] for k in range(i, min(i + 2, count))), min(i + 2, count))
        for i in range(0, count, 2)
    ]
    return Answer(tokens=count, chunks=tuple(lines), last=(_line("", count, finish),))


def _line(text: str, tokens: int, finish: str | None = None) -> bytes:
    said = {"text": text, "tokens": tokens, "input_tokens": PROMPT_TOKENS, "history_tokens": 0}
    return f"{_text({**said, 'finish_reason': finish})}\n".encode()


def _length(limit: object, *, ignore_eos: bool = False) -> tuple[int, str]:
    most = limit if isinstance(limit, int) else 16
    if ignore_eos or most <= NATURAL_LENGTH:
        return most, "length"
    return NATURAL_LENGTH, "stop"


def _usage(completion_tokens: int) -> Json:
    return {
        "prompt_tokens": PROMPT_TOKENS,
        "completion_tokens": completion_tokens,
        "total_tokens": PROMPT_TOKENS + completion_tokens,
    }


def _text(value: Json) -> str:
    return json.dumps(value, ensure_ascii=False)


def prompts_of(body: Json) -> Iterator[str | list[int]]:
    """The rendered prompt of a request, where it has one."""
    for name in ("prompt", "inputs", "text_input"):
        if isinstance(body.get(name), str) or (
            isinstance(body.get(name), list) and all(isinstance(i, int) for i in body[name])
        ):
            yield body[name]


def begins(prompt: str | list[int]) -> int:
    """How often a prompt has begin-of-text."""
    return prompt.count(BOS) if isinstance(prompt, str) else prompt.count(BOS_ID)
