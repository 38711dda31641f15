"""Prompts from a JSONL file in any of four forms; a mistake is a RequestError that names file and line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from orchestrator.domain.prompt import Message, Prompt
from orchestrator.errors import RequestError

ROLES = ("system", "user", "assistant")
FORMS = "a line is a JSON object with `prompt`, `text`, `messages`, or `instruction` and perhaps `context`"


def prompts(content: bytes, name: str, column: str | None = None) -> tuple[Prompt, ...]:
    """One prompt per line; empty lines are passed over. `name` is the file's, for errors; `column` the field that
    holds the prompt, where it is none of the usual ones."""
    return tuple(prompt(entry, place, column) for place, entry in objects(content, name))


def prompt(entry: dict[str, Any], place: str, column: str | None = None) -> Prompt:
    """What one line or row says."""
    if column is None:
        return _read(entry, place)
    if column not in entry:
        raise fault(place, f"no column {column!r}", f"it has {', '.join(map(str, entry))}")
    value = entry[column]
    return conversation(value, place) if isinstance(value, list) else Prompt.of(_text(value, column, place))


def objects(content: bytes, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """(place, object) of each line that is not empty."""
    for number, line in enumerate(content.split(b"\n"), start=1):
        if not line.strip():
            continue
        place = f"{name}, line {number}"
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise fault(place, f"not JSON: {error}") from error
        if not isinstance(entry, dict):
            raise fault(place, "not an object")
        yield place, entry


def messages(value: Any, place: str) -> tuple[Message, ...]:
    """A list of roles and contents."""
    if not isinstance(value, list) or not value:
        raise fault(place, "messages is not a list of turns")
    return tuple(_message(turn, place) for turn in value)


def conversation(value: Any, place: str) -> Prompt:
    """A conversation as data sets record it, up to the last turn of the user's: with roles and contents, or as
    `from` and `value`, human and gpt."""
    turns = [_renamed(turn) for turn in value] if isinstance(value, list) else value
    found = messages(turns, place)
    while found and found[-1].role != "user":
        found = found[:-1]
    if not found:
        raise fault(place, "no turn of a user's")
    return Prompt(found)


def fault(place: str, reason: str, hint: str = FORMS) -> RequestError:
    return RequestError(f"{place}: {reason}", hint=hint)


def _renamed(turn: Any) -> Any:
    if isinstance(turn, dict) and "from" in turn:
        return {"role": _SPEAKERS.get(turn["from"], turn["from"]), "content": turn.get("value")}
    return turn


_SPEAKERS = {"human": "user", "gpt": "assistant"}


def _read(entry: dict[str, Any], place: str) -> Prompt:
    if "messages" in entry:
        found = messages(entry["messages"], place)
        if found[-1].role != "user":
            raise fault(place, f"the last turn is the {found[-1].role}'s, and only a user's can be answered")
        return Prompt(found)
    for name in ("prompt", "text"):
        if name in entry:
            return Prompt.of(_text(entry[name], name, place))
    if "instruction" not in entry:
        raise fault(place, "none of prompt, text, messages and instruction")
    context = _text(entry.get("context") or "", "context", place, may_be_empty=True)
    return Prompt.of(context + _text(entry["instruction"], "instruction", place))


def _message(turn: Any, place: str) -> Message:
    if not isinstance(turn, dict) or turn.get("role") not in ROLES:
        raise fault(place, f"a turn whose role is none of {', '.join(ROLES)}")
    return Message(turn["role"], _text(turn.get("content"), "content", place))


def _text(value: Any, name: str, place: str, *, may_be_empty: bool = False) -> str:
    if not isinstance(value, str):
        raise fault(place, f"{name} is not text")
    if not value.strip() and not may_be_empty:
        raise fault(place, f"{name} is empty")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise fault(place, f"{name} holds half of a character: {error.reason}") from error
    return value
