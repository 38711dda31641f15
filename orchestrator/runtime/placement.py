"""Filling in the placeholders of a command where it will live, and the folders that it is given there."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from backends.contract import Launch
from orchestrator.errors import HostError


@dataclass(frozen=True, slots=True)
class Placement:
    """What the placeholders stand for in one place. `steps` maps a step's id to the folder of its output,
    `out` is that of the step which is run, and empty for an engine. `layer` is the environment of a serving layer,
    and `engine_port` where the engine listens behind it."""

    model: str
    files: str
    config: str = ""
    bind: str = ""
    port: int | str = 0
    out: str = ""
    engine_port: int | str = 0
    layer: str = ""
    steps: Mapping[str, str] = field(default_factory=dict)

    def argv(self, launch: Launch) -> tuple[str, ...]:
        return tuple(self.fill(word) for word in launch.argv)

    def env(self, launch: Launch) -> dict[str, str]:
        return {name: self.fill(value) for name, value in launch.env.items()}

    def fill(self, text: str) -> str:
        """In one pass: what is filled in is not looked at again."""
        return _PLACEHOLDER.sub(self._value, text)

    def _value(self, found: re.Match[str]) -> str:
        return self.steps[found[2]] if found[2] else str(getattr(self, found[1]))


def write_files(launch: Launch, placement: Placement, folder: Path) -> None:
    """The command's own files, which any user may read: a container's is not ours."""
    try:
        for file in launch.files:
            path = folder / file.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(placement.fill(file.text), encoding="utf-8")
            path.chmod(0o644)
        for sub in (folder, *folder.rglob("*")) if launch.files else ():
            if sub.is_dir():
                sub.chmod(0o755)
    except OSError as error:
        raise HostError(
            f"the command's files could not be written: {error}", hint="free disk, or choose another folder"
        ) from error


_PLACEHOLDER = re.compile(r"\{(model|files|config|bind|port|engine_port|layer|out|step:([\w-]+))\}")
