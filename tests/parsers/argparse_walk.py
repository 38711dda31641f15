"""What an argparse parser takes, in the words of an option list (`orchestrator.domain.option.Option`)."""

from __future__ import annotations

import argparse
import re
from typing import Any

# The name of a parser's type function, where it is not the name of ours
_TYPES = {
    "None": "str",
    "loads": "json",
    "parse_dataclass": "object",
    "parse_reasoning_parser": "str",
    "human_readable_int": "size",
    "human_readable_int_or_auto": "size",
    "union_dict_and_str": "str-or-object",
    "<lambda>": "str",
}
_SAME = {"str", "int", "float"}


def walk(parser: argparse.ArgumentParser) -> list[dict[str, Any]]:
    """One record an option, hidden spellings included; what is as an Option's default is left out."""
    known = parser._option_string_actions.items()
    return [
        _option(action, [flag for flag, owner in known if owner is action])
        for action in parser._actions
        if action.dest != "help"
    ]


def _option(action: argparse.Action, flags: list[str]) -> dict[str, Any]:
    kind, may_be_none = _kind(action.type)
    switch = action.nargs == 0
    found: dict[str, Any] = {
        "flags": flags or None,
        "positional": not flags or None,
        "dest": action.dest,
        "type": None if switch or kind == "str" else kind,
        "nargs": action.nargs,
        "choices": None if switch else _choices(action),
        "also": _also(action, may_be_none) or None,
        "required": action.required or None,
        "repeats": isinstance(action, argparse._AppendAction) or None,
    }
    return {key: value for key, value in found.items() if value is not None}


def _kind(function: Any) -> tuple[str, bool]:
    """The type, and whether an enclosing `optional_type` also takes the word None."""
    name = getattr(function, "__name__", str(function))
    if name in {"_optional_type", "_parse_type"}:
        (inner,) = (cell.cell_contents for cell in function.__closure__)
        return _kind(inner)[0], name == "_optional_type"
    return name if name in _SAME else _TYPES[name], False


def _choices(action: argparse.Action) -> list[str] | None:
    """Some enumerations are only shown, as a metavar, and judged after parsing."""
    if action.choices is not None:
        return [str(choice) for choice in action.choices if choice is not None]
    shown = action.metavar if isinstance(action.metavar, str) else str(action.metavar or "")
    listed = re.match(r"\{(.*?)\}", shown)
    if listed:
        return listed[1].split(",")
    return re.findall(r"'([^']*)'", shown) or None


def _also(action: argparse.Action, may_be_none: bool) -> list[str]:
    open_or_none = action.choices is None or None in action.choices
    none = ["None", ""] if may_be_none and open_or_none else []
    return [*none, *(["auto"] if _name(action) == "human_readable_int_or_auto" else [])]


def _name(action: argparse.Action) -> str:
    return str(getattr(action.type, "__name__", ""))
