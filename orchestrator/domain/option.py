"""An engine's option list as its own parser has it, and how a command line is read by it. It judges nothing:
what is wrong with a reading says `orchestrator.options`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Literal

from pydantic import Field

from backends.contract import Value

_NUMBER = re.compile(r"-(\d+|\d*\.\d+)")
_SHORT = 2  # "-O": the only spelling to which a value may be joined, as in "-O3"


class OptionType(str, Enum):
    """What a value must be. SIZE is an int that may end in k, m, g, t (1000s) or K, M, G, T (1024s);
    an OBJECT is JSON in braces."""

    STR = "str"
    INT = "int"
    SIZE = "size"
    FLOAT = "float"
    BOOL = "bool"
    JSON = "json"
    OBJECT = "object"
    STR_OR_OBJECT = "str-or-object"
    PATH = "path"


class Option(Value):
    """One option. `nargs` 0 is a switch; `also` are words that fit beside the type and the choices;
    `separator` parts the values within one word; `identity` marks what levelbench sets itself (model,
    address); `nested` names the list of the keys in a value of the form `k=v;k=v`. `dead` and `raises` say
    why the option must not be given although the parser knows it."""

    dest: str
    flags: tuple[str, ...] = ()
    positional: bool = False
    type: OptionType = OptionType.STR
    nargs: int | Literal["?", "*", "+"] = 1
    choices: tuple[str, ...] | None = Field(default=None, min_length=1)
    also: tuple[str, ...] = ()
    separator: str | None = None
    required: bool = False
    repeats: bool = False
    env: str | None = None
    identity: bool = False
    nested: str | None = None
    dead: str | None = None
    raises: str | None = None

    @property
    def fewest(self) -> int:
        return self.nargs if isinstance(self.nargs, int) else int(self.nargs == "+")

    @property
    def most(self) -> int | None:
        """None: no limit."""
        if isinstance(self.nargs, int):
            return self.nargs
        return 1 if self.nargs == "?" else None

    @property
    def name(self) -> str:
        """What a person calls it: its first long spelling."""
        long = [flag for flag in self.flags if flag.startswith("--")]
        return (*long, *self.flags, self.dest)[0]


class Neighbour(Value):
    """Another release of the same engine: its version and every spelling it knows."""

    version: str
    flags: frozenset[str]


class OptionList(Value):
    """Every option of one command at one release, as JSON under backends/options/.

    `underscores`: the parser takes `--a_b` for `--a-b`. `attached`: it takes `--a=b`. `dotted`: it takes
    `--a.key value` for one key of a JSON value. `bools`: the words of a bool.
    """

    name: str
    version: str
    command: tuple[str, ...]
    source: str
    note: str = ""
    earlier: Neighbour | None = None
    later: Neighbour | None = None
    underscores: bool = False
    attached: bool = True
    dotted: bool = False
    bools: tuple[str, ...] = ("true", "false")
    nested: dict[str, OptionList] = Field(default_factory=dict)
    options: tuple[Option, ...]

    @property
    def flags(self) -> frozenset[str]:
        return frozenset(flag for option in self.options for flag in option.flags)

    def spelled(self, flag: str) -> Option | None:
        known = {flag, flag.replace("_", "-")} if self.underscores and flag.startswith("--") else {flag}
        return next((option for option in self.options if not known.isdisjoint(option.flags)), None)


@dataclass(frozen=True, slots=True)
class Given:
    """One option as it stands in a command line. `option` is None where the list does not have it; `path` is
    what follows the first dot of a dotted flag; `joined` says that the value came with an equals sign."""

    words: tuple[str, ...]
    option: Option | None
    values: tuple[str, ...]
    path: str = ""
    joined: bool = False

    @property
    def text(self) -> str:
        return " ".join(self.words)

    def means(self, other: Given) -> bool:
        """Whether both set the same thing, so that one would undo the other."""
        same = self.option is not None and other.option is not None and self.option.dest == other.option.dest
        return same and (self.path == other.path or not self.path or not other.path)


def read(options: OptionList, words: Sequence[str]) -> Iterator[Given]:
    """The words, part by part. An unknown flag takes the values that follow it, so that it is told once."""
    positionals = [option for option in options.options if option.positional]
    at = 0
    while at < len(words):
        if _is_flag(words[at]):
            given = _flag(options, words, at)
        else:
            option = positionals.pop(0) if positionals else None
            values = _values(words, at, option.most if option else 1)
            given = Given(words=values, option=option, values=values)
        yield given
        at += len(given.words)


def _flag(options: OptionList, words: Sequence[str], at: int) -> Given:
    word = words[at]
    flag, equals, value = word.partition("=") if options.attached else (word, "", "")
    option = options.spelled(flag)
    path = ""
    if option is None and options.dotted:
        base, _, path = flag.partition(".")
        option = options.spelled(base) if path else None
    if option is None and options.attached and len(word) > _SHORT:
        option = options.spelled(word[:_SHORT])
        value, equals = (word[_SHORT:], "=") if option else (value, equals)
    if equals:
        return Given(words=(word,), option=option, values=(value,), path=path, joined=True)
    values = _values(words, at + 1, option.most if option else None)
    return Given(words=(word, *values), option=option, values=values, path=path)


def _values(words: Sequence[str], start: int, most: int | None) -> tuple[str, ...]:
    end = start
    limit = len(words) if most is None else min(len(words), start + most)
    while end < limit and not _is_flag(words[end]):
        end += 1
    return tuple(words[start:end])


def _is_flag(word: str) -> bool:
    return len(word) > 1 and word.startswith("-") and _NUMBER.fullmatch(word) is None
