"""What a person typed -> values."""

from __future__ import annotations

import json
from collections.abc import Iterable

from pydantic import JsonValue

from orchestrator.errors import RequestError


def numbers(text: str | None) -> tuple[int, ...]:
    if text is None:
        return ()
    try:
        return tuple(int(number) for number in text.rstrip(",").split(","))
    except ValueError as error:
        raise RequestError(f"users {text!r} are not numbers", hint="for example USERS=10,50,100") from error


def fields(words: Iterable[str]) -> dict[str, JsonValue]:
    """`name=value` each; a value that is JSON is taken as such, any other as text."""
    found: dict[str, JsonValue] = {}
    for word in words:
        name, parted, value = word.partition("=")
        if not parted or not name:
            raise RequestError(f"{word!r} is no field", hint="for example --field top_k=40")
        found[name] = _value(value)
    return found


def _value(text: str) -> JsonValue:
    try:
        value: JsonValue = json.loads(text)
    except ValueError:
        return text
    return value
