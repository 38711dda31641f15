"""Where each value of a TOML text stands, so that a mistake in it can be told with its line.

The standard library's parser keeps no places. This walk follows a text that the parser has accepted, and so need
not find mistakes itself: it only has to tell keys, strings, brackets and commas apart.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

Place = tuple[str | int, ...]

_TOKEN = re.compile(
    r'(?P<string>"""(?:\\.|[^\\])*?"{3,5}|\'\'\'.*?\'{3,5}|"(?:\\.|[^"\\\n])*"|\'[^\'\n]*\')'
    r"|(?P<comment>\#[^\n]*)|(?P<mark>\[\[|\]\]|[\[\]{}=,.\n])|(?P<word>[^\s\[\]{}=,.\"'\#]+)",
    re.DOTALL,
)


def lines(text: str) -> dict[Place, int]:
    """The line, from 1, of every table, key and element of an array, by its path."""
    walk = _Walk(list(_tokens(text)))
    walk.document()
    return walk.found


def nearest(found: dict[Place, int], place: Place) -> int | None:
    """The line of what encloses a place most closely: of a field that is missing, its table's."""
    return next((found[place[:end]] for end in range(len(place), 0, -1) if place[:end] in found), None)


@dataclass(frozen=True, slots=True)
class _Token:
    text: str
    line: int
    is_mark: bool


def _tokens(text: str) -> Iterator[_Token]:
    line, seen = 1, 0
    for match in _TOKEN.finditer(text):
        line += text.count("\n", seen, match.start())
        seen = match.start()
        if match.lastgroup != "comment":
            yield _Token(match.group(), line, match.lastgroup == "mark")


@dataclass(slots=True)
class _Walk:
    """`at` is the next token."""

    tokens: list[_Token]
    at: int = 0
    found: dict[Place, int] = field(default_factory=dict)
    arrays: dict[Place, int] = field(default_factory=dict)

    def document(self) -> None:
        table: Place = ()
        while self.at < len(self.tokens):
            if self._is("\n"):
                self.at += 1
            elif self._is("[") or self._is("[["):
                table = self._header()
            else:
                self._pair(table)

    def _header(self) -> Place:
        """`[a.b]` or `[[a.b]]`; a table below an array's is of its newest element."""
        is_array, line = self._is("[["), self.tokens[self.at].line
        self.at += 1
        table: Place = ()
        keys = self._keys()
        for key in keys[:-1]:
            self.found.setdefault((*table, key), line)
            table = self._newest((*table, key))
        table = (*table, keys[-1])
        if is_array:
            self.found.setdefault(table, line)
            self.arrays[table] = self.arrays.get(table, -1) + 1
            table = (*table, self.arrays[table])
        else:
            table = self._newest(table)
        self.found.setdefault(table, line)
        self.at += 1
        return table

    def _newest(self, table: Place) -> Place:
        return (*table, self.arrays[table]) if table in self.arrays else table

    def _pair(self, table: Place) -> None:
        line = self.tokens[self.at].line
        place = (*table, *self._keys())
        for end in range(len(table) + 1, len(place) + 1):
            self.found.setdefault(place[:end], line)
        self.at += 1  # the equals sign
        self._value(place)

    def _keys(self) -> tuple[str, ...]:
        keys = [self._key()]
        while self._is("."):
            self.at += 1
            keys.append(self._key())
        return tuple(keys)

    def _key(self) -> str:
        text = self.tokens[self.at].text
        self.at += 1
        return text[1:-1] if text[0] in "\"'" else text

    def _value(self, place: Place) -> None:
        if self._is("[") or self._is("[["):
            self._array(place)
        elif self._is("{"):
            self._inline(place)
        else:
            while self.at < len(self.tokens) and not self._ends_value():
                self.at += 1

    def _array(self, place: Place) -> None:
        opened = self.tokens[self.at]
        if opened.text == "[[":  # an array that begins with an array, not a header
            self.tokens[self.at : self.at + 1] = [_Token("[", opened.line, is_mark=True)] * 2
        self.at += 1
        index = 0
        while not self._closes():
            if self._is("\n") or self._is(","):
                self.at += 1
                continue
            self.found[(*place, index)] = self.tokens[self.at].line
            self._value((*place, index))
            index += 1
        self.at += 1

    def _closes(self) -> bool:
        token = self.tokens[self.at]
        if token.is_mark and token.text == "]]":
            self.tokens[self.at : self.at + 1] = [_Token("]", token.line, is_mark=True)] * 2
        return self._is("]")

    def _inline(self, place: Place) -> None:
        self.at += 1
        while not self._is("}"):
            if self._is(",") or self._is("\n"):
                self.at += 1
            else:
                self._pair(place)
        self.at += 1

    def _ends_value(self) -> bool:
        """A number's or a date's own point ends nothing."""
        return any(self._is(mark) for mark in (",", "]", "]]", "}", "\n"))

    def _is(self, mark: str) -> bool:
        if self.at >= len(self.tokens):
            return False
        token = self.tokens[self.at]
        return token.is_mark and token.text == mark
