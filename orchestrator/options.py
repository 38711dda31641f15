"""Whether a release takes the options of a command line, and a user's own options put into it. Pure, but for
reading the lists under backends/options/ once."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

import backends
from orchestrator.domain.option import Given, Neighbour, Option, OptionList, OptionType, read
from orchestrator.errors import RequestError, unknown

FOLDER = Path(backends.__file__).parent / "options"
# What the runtime fills in, such as {model}, {port} or {step:build}, fits every type
PLACEHOLDER = re.compile(r"\{[a-z_]+(:[\w.-]+)?\}")
_SHOWN_CHOICES = 12
_WITH_KEYS = {OptionType.JSON, OptionType.OBJECT, OptionType.STR_OR_OBJECT}


class Problem(str, Enum):
    """What can be wrong with an option."""

    UNKNOWN = "unknown option"
    STRAY = "no option takes this word"
    NO_VALUE = "value missing"
    SWITCH = "a switch takes no value"
    NO_KEYS = "takes no keys"
    TYPE = "value is not of its type"
    CHOICE = "value is not among the choices"
    TWICE = "given twice"
    REQUIRED = "required"
    DEAD = "does nothing in this release"
    RAISES = "refused by this release"
    IDENTITY = "levelbench sets this itself"


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that an engine would refuse, or take and not do; `hint` says what to write instead."""

    word: str
    problem: Problem
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.word}: {self.problem.value}" + (f" ({self.hint})" if self.hint else "")


@dataclass(frozen=True, slots=True)
class Merged:
    """A command line with a user's words in it; `replaced` pairs the words that gave way with the new."""

    words: tuple[str, ...]
    replaced: tuple[tuple[str, str], ...]


def names() -> list[str]:
    return sorted(path.name.removesuffix(".json") for path in FOLDER.glob("*.json"))


@cache
def load(name: str) -> OptionList:
    """The list of that name, with those that it nests and what its neighbour releases know."""
    record = _record(name)
    nested = {option["nested"] for option in record.get("options", ()) if "nested" in option}
    record |= {side: _neighbour(record[side]) for side in ("earlier", "later") if side in record}
    record |= {"name": name, "nested": {inner: load(inner) for inner in nested}}
    try:
        return OptionList.model_validate(record)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise RequestError(f"{name}.json: {wrong}", hint="fields are those of OptionList") from error


def faults(options: OptionList, words: Sequence[str]) -> tuple[Fault, ...]:
    """Everything that this release's parser would refuse, in the order of the words."""
    found = tuple(read(options, words))
    return (*_part_faults(options, found), *_required(options, (given.option for given in found)))


def env_faults(options: OptionList, env: Mapping[str, str]) -> tuple[Fault, ...]:
    """The same for options that are given as environment variables; other variables are not looked at."""
    by_name = {option.env: option for option in options.options if option.env}
    return tuple(
        fault
        for name, value in env.items()
        if name in by_name
        for fault in _setting_faults(options, by_name[name], f"{name}={value}", value)
    )


def pair_faults(
    options: OptionList, pairs: Iterable[tuple[str, str]], *, prefix: str = ""
) -> tuple[Fault, ...]:
    """The same for keys and values, such as a template's variables or what stands in one option's value."""
    found: list[Fault] = []
    seen: list[Option] = []
    for key, value in pairs:
        word = f"{prefix}{key}={value}"
        option = options.spelled(key)
        if option is None:
            found.append(Fault(word, Problem.UNKNOWN, _meant(options, key)))
            continue
        if option in seen:
            found.append(Fault(word, Problem.TWICE))
        seen.append(option)
        found.extend(_setting_faults(options, option, word, value))
    return (*found, *_required(options, seen))


def merge(words: Sequence[str], extra: Sequence[str], options: OptionList) -> Merged:
    """`words` with the user's `extra`: an option that is there already gives way, others are appended.

    RequestError with every fault of `extra`, among them what only levelbench may set.
    """
    wanted = tuple(read(options, extra))
    found = (*_identity(wanted), *_part_faults(options, wanted))
    if found:
        raise refusal(options, found)
    parts = list(read(options, words))
    replaced = []
    for given in wanted:
        assert given.option is not None  # noqa: S101 - an unknown option is a fault
        old = [] if given.option.repeats else [part for part in parts if part.means(given)]
        replaced += [(part.text, given.text) for part in old]
        at = parts.index(old[0]) if old else len(parts)
        parts = [part for part in parts if part not in old]
        parts.insert(at, given)
    return Merged(tuple(word for part in parts for word in part.words), tuple(replaced))


def refusal(options: OptionList, found: Sequence[Fault]) -> RequestError:
    """The error that tells all faults at once."""
    command = " ".join(options.command)
    return RequestError(
        f"{command} {options.version} does not take: {'; '.join(map(str, found))}",
        hint=f"its options are listed in backends/options/{options.name}.json",
    )


def _record(name: str) -> dict[str, Any]:
    if name not in names():
        raise unknown("option list", name, names())
    try:
        record: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    except ValueError as error:
        raise RequestError(f"{name}.json is not JSON: {error}", hint="mend the line that is named") from error
    return record


def _neighbour(name: str) -> Neighbour:
    record = _record(name)
    flags = frozenset(flag for option in record["options"] for flag in option.get("flags", ()))
    return Neighbour(version=record["version"], flags=flags)


def _part_faults(options: OptionList, found: Sequence[Given]) -> Iterator[Fault]:
    for i, given in enumerate(found):
        yield from _given_faults(options, given)
        option = given.option
        if option and not option.repeats and any(given.means(earlier) for earlier in found[:i]):
            yield Fault(given.text, Problem.TWICE, f"{option.name} stands further left")


def _given_faults(options: OptionList, given: Given) -> Iterator[Fault]:
    option = given.option
    if option is None:
        flag = given.words[0].partition("=")[0]
        is_flag = flag.startswith("-")
        problem = Problem.UNKNOWN if is_flag else Problem.STRAY
        yield Fault(given.words[0], problem, _meant(options, flag) if is_flag else "")
    elif given.path:
        if option.type not in _WITH_KEYS:
            yield Fault(given.text, Problem.NO_KEYS, f"{option.name} wants {_wanted(options, option)}")
        elif not given.values:
            yield Fault(given.text, Problem.NO_VALUE)
    else:
        yield from _use(option, given.text)
        if option.nargs == 0 and given.values:
            yield Fault(given.text, Problem.SWITCH, f"write {option.name} alone")
        elif len(given.values) < option.fewest:
            yield Fault(given.text, Problem.NO_VALUE, f"{option.name} wants {_wanted(options, option)}")
        else:
            for value in given.values:
                yield from _value_faults(options, option, given.text, value)


def _setting_faults(options: OptionList, option: Option, word: str, value: str) -> Iterator[Fault]:
    """Of one value that stands under a name: a switch is then told with a bool."""
    yield from _use(option, word)
    if option.nargs == 0:
        option = option.model_copy(update={"type": OptionType.BOOL})
    yield from _value_faults(options, option, word, value)


def _use(option: Option, word: str) -> Iterator[Fault]:
    if option.dead:
        yield Fault(word, Problem.DEAD, option.dead)
    if option.raises:
        yield Fault(word, Problem.RAISES, option.raises)


def _value_faults(options: OptionList, option: Option, word: str, value: str) -> Iterator[Fault]:
    if PLACEHOLDER.search(value):
        return
    if option.nested:
        inner = options.nested[option.nested]
        pairs = [(key, text) for key, _, text in (part.partition("=") for part in value.split(";") if part)]
        yield from pair_faults(inner, pairs, prefix=f"{option.name} ")
        return
    for part in value.split(option.separator) if option.separator else (value,):
        if part in option.also:
            continue
        if option.choices is not None:
            if part not in option.choices:
                yield Fault(word, Problem.CHOICE, _nearest_choice(option.choices, part))
        elif not _FITS[option.type](part, options.bools):
            yield Fault(word, Problem.TYPE, f"{option.name} wants {_wanted(options, option)}")


def _required(options: OptionList, given: Iterable[Option | None]) -> Iterator[Fault]:
    there = {option.dest for option in given if option}
    for option in options.options:
        if option.required and option.dest not in there:
            yield Fault(option.name, Problem.REQUIRED)


def _identity(found: Sequence[Given]) -> Iterator[Fault]:
    for given in found:
        if given.option and given.option.identity:
            yield Fault(given.text, Problem.IDENTITY)


def _meant(options: OptionList, flag: str) -> str:
    """Where a spelling that this release does not know comes from, and the nearest that it knows."""
    told = []
    if options.earlier and flag in options.earlier.flags:
        told.append(f"was in {options.earlier.version}; gone since")
    if options.later and flag in options.later.flags:
        told.append(f"came after {options.version}; {options.later.version} has it")
    key = flag.strip("-").replace("-", "_")
    told += [
        f"write {option.name} {key}=..."
        for option in options.options
        if option.nested and options.nested[option.nested].spelled(key)
    ]
    near = _nearest(flag, options.flags)
    if near and not told:
        told.append(f"did you mean {near}?")
    return "; ".join(told)


def _nearest(flag: str, known: Iterable[str]) -> str | None:
    spellings = sorted(known)
    longer = [spelling for spelling in spellings if spelling.startswith(flag) and len(flag) > len("--x")]
    near = difflib.get_close_matches(flag, spellings, n=1)
    return next(iter((*longer, *near)), None)


def _nearest_choice(choices: Sequence[str], value: str) -> str:
    near = difflib.get_close_matches(value, choices, n=1)
    listed = ", ".join(choices) if len(choices) <= _SHOWN_CHOICES else f"one of {len(choices)} choices"
    return f"did you mean {near[0]}? choices: {listed}" if near else f"choices: {listed}"


def _wanted(options: OptionList, option: Option) -> str:
    if option.choices is not None:
        return f"one of {', '.join(option.choices[:_SHOWN_CHOICES])}"
    kind = "/".join(options.bools) if option.type is OptionType.BOOL else option.type.value
    return " or ".join((kind, *(word for word in option.also if word)))


def _matches(pattern: str) -> Callable[[str, Sequence[str]], bool]:
    compiled = re.compile(pattern)
    return lambda value, _bools: compiled.fullmatch(value) is not None


def _is_float(value: str, _bools: Sequence[str]) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True


def _is_json(value: str, _bools: Sequence[str]) -> bool:
    try:
        json.loads(value)
    except ValueError:
        return False
    return True


_FITS: dict[OptionType, Callable[[str, Sequence[str]], bool]] = {
    OptionType.STR: lambda _value, _bools: True,
    OptionType.INT: _matches(r"[+-]?\d+"),
    OptionType.SIZE: _matches(r"[+-]?\d+|\d+(\.\d+)?[kmgt]|\d+[KMGT]"),
    OptionType.FLOAT: _is_float,
    OptionType.BOOL: lambda value, bools: value in bools,
    OptionType.JSON: _is_json,
    OptionType.OBJECT: lambda value, bools: value.strip().startswith("{") and _is_json(value, bools),
    OptionType.STR_OR_OBJECT: lambda value, bools: (
        not value.strip().startswith("{") or _is_json(value, bools)
    ),
    OptionType.PATH: lambda value, _bools: bool(value),
}
