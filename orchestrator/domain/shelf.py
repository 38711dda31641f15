"""Images, and what stands for them in a process, as things that take disk: which of them may go. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from backends.contract import ImageSpec


@dataclass(frozen=True, slots=True)
class Shelved:
    """One of ours that lies here. `label` is the engine and its release, several builds of which may lie here; `size_bytes`
    is what its removal gives back, `used_s` when it was used last, in seconds since 1970."""

    name: str
    label: str
    size_bytes: int
    used_s: float


def label(spec: ImageSpec) -> str:
    return f"{spec.name}-{spec.release}"


def removable(shelved: Sequence[Shelved], needed: Collection[ImageSpec]) -> tuple[Shelved, ...]:
    """Those that nobody waits for, the least recently used first. Of an engine's release that is needed the build that
    was used last stays; which of several will be asked for is known only when its base image is here."""
    by_use = sorted(shelved, key=lambda one: one.used_s)
    newest = {one.label: one for one in by_use}
    kept = {newest[name].name for spec in needed if (name := label(spec)) in newest}
    return tuple(one for one in by_use if one.name not in kept)


def missing_bytes(shelved: Sequence[Shelved], wanted: Collection[ImageSpec]) -> int:
    """What those of the wanted that are not here are going to take."""
    here = {one.label for one in shelved}
    return sum(spec.build.install_bytes for spec in wanted if label(spec) not in here)
