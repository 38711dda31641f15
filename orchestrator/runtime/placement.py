"""Filling in the placeholders of a ServeSpec where an engine will live. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from backends.contract import ServeSpec


@dataclass(frozen=True, slots=True)
class Placement:
    """What `{model}`, `{files}`, `{bind}` and `{port}` stand for in one place."""

    model: str
    files: str
    bind: str
    port: int

    def argv(self, serve: ServeSpec) -> tuple[str, ...]:
        return tuple(self._fill(word) for word in serve.argv)

    def env(self, serve: ServeSpec) -> dict[str, str]:
        return {name: self._fill(value) for name, value in serve.env.items()}

    def _fill(self, text: str) -> str:
        """In one pass: what is filled in is not looked at again."""
        return _PLACEHOLDER.sub(lambda found: str(getattr(self, found[1])), text)


_PLACEHOLDER = re.compile(r"\{(model|files|bind|port)\}")
