"""Reads Triton's model configurations. Standard library only: it lives in an image."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any


def pbtxt(text: str) -> dict[str, Any]:
    """Protobuf's text format, as far as these files go: fields in braces, lists in brackets."""
    words = re.findall(r'"[^"]*"|[\w.+-]+|[{}\[\]:,]', text)
    return _message(iter([*words, "}"]))


def _message(words: Iterator[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in words:
        if name == "}":
            return found
        if name == ",":
            continue
        mark = next(words)
        mark = next(words) if mark == ":" else mark
        value = _message(words) if mark == "{" else _list(words) if mark == "[" else _scalar(mark)
        if name in ("parameters", "step", "input_map", "output_map"):
            found.setdefault(name, []).append(value)
        else:
            found[name] = value
    raise ValueError("a brace is not closed")


def _list(words: Iterator[str]) -> list[Any]:
    found: list[Any] = []
    for word in words:
        if word == "]":
            return found
        if word != ",":
            found.append(_message(words) if word == "{" else _scalar(word))
    raise ValueError("a bracket is not closed")


def _scalar(word: str) -> Any:
    if word.startswith('"'):
        return word[1:-1]
    if word in ("true", "false"):
        return word == "true"
    return int(word) if re.fullmatch(r"-?\d+", word) else word
