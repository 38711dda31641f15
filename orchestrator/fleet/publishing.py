"""Attempts of a group and its one published result, in a folder that all hosts see.

    <run>/attempts/<group>/<run>-<attempt>/   everything an attempt made: a run folder of its own
    <run>/attempts/<group>/<run>-<attempt>.jsonthat it began, and where
    <run>/groups/<group>.json                 the attempt whose results count: there is only ever one

The first to publish wins, also against a copy that a network split left alive: link(2) makes a name only if there
is none. What the losers measured is kept.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from backends.contract import Value
from orchestrator.errors import HostError
from orchestrator.store import files
from orchestrator.store.runs import CELLS, RunFolder

V = TypeVar("V", bound=Value)

ATTEMPTS = "attempts"
GROUPS = "groups"


class Attempt(Value):
    """One try at a group. `id` is the batch system's number of it, restarts included."""

    group: str
    id: str
    host: str
    began_at: str


class Published(Value):
    """A group that was run to its end, figures or not. `exit_code` as of a run: 0, or 4 where a cell failed."""

    attempt: Attempt
    exit_code: int
    ended_at: str


def attempt_folder(run: Path, group: str, attempt_id: str) -> Path:
    """Its name tells the run too: what lives on a host is called after it."""
    return run / ATTEMPTS / group / f"{run.name}-{attempt_id}"


def begin(run: Path, attempt: Attempt) -> Path:
    """Note where an attempt begins, and give the folder that it may fill."""
    folder = attempt_folder(run, attempt.group, attempt.id)
    with files.translated(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
    files.write_atomically(folder.with_name(f"{folder.name}.json"), attempt.model_dump_json().encode())
    return folder


def publish(run: Path, done: Published) -> bool:
    """Make this attempt the one that counts; False if another one was first."""
    place = run / GROUPS / f"{done.attempt.group}.json"
    draft = place.with_name(f".{done.attempt.group}.{done.attempt.id}")
    with files.translated(place):
        place.parent.mkdir(parents=True, exist_ok=True)
    files.write_atomically(draft, done.model_dump_json().encode())
    try:
        return _linked(draft, place)
    finally:
        with suppress(OSError):
            draft.unlink()


def published(run: Path) -> dict[str, Published]:
    """Every group that has its result."""
    found = (_read(path, Published) for path in sorted((run / GROUPS).glob("*.json")))
    return {done.attempt.group: done for done in found if done is not None}


def attempts(run: Path) -> dict[str, tuple[Attempt, ...]]:
    """Every attempt that began, by group, in the order in which they did."""
    found: dict[str, tuple[Attempt, ...]] = {}
    for attempt in sorted(_began(run), key=lambda a: a.began_at):
        found[attempt.group] = (*found.get(attempt.group, ()), attempt)
    return found


def collect(run: RunFolder) -> tuple[Published, ...]:
    """Bring the cells of everything published into the run itself, as other names of the same files; gives what was
    new. May be stopped and called again at any point."""
    fresh = []
    for done in published(run.path).values():
        source = attempt_folder(run.path, done.attempt.group, done.attempt.id)
        cells = [
            path for path in sorted((source / CELLS).glob("*")) if not (run.path / CELLS / path.name).exists()
        ]
        for cell in cells:
            _link_folder(cell, run.path / CELLS / cell.name)
        if cells:
            fresh.append(done)
            run.journal("group-collected", **done.attempt.model_dump(), exit_code=done.exit_code)
    return tuple(fresh)


def _link_folder(source: Path, target: Path) -> None:
    """The whole folder under a second name, or nothing of it. Copied where the file system has no hard links."""
    draft = target.with_name(f".{target.name}.part")
    with files.translated(target):
        target.parent.mkdir(exist_ok=True)
        shutil.rmtree(draft, ignore_errors=True)
        shutil.copytree(source, draft, copy_function=_link_or_copy)
        draft.rename(target)
        files.sync_folder(target.parent)


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _began(run: Path) -> Iterator[Attempt]:
    for path in (run / ATTEMPTS).glob("*/*.json"):
        attempt = _read(path, Attempt)
        if attempt is not None:
            yield attempt


def _linked(draft: Path, place: Path) -> bool:
    try:
        os.link(draft, place)
    except FileExistsError:
        # A server may have made the link and lost its answer; the second try then finds our own (open(2), O_EXCL).
        return draft.samefile(place)
    except OSError as error:
        raise HostError(
            f"cannot publish {place}: {error.strerror}",
            hint="the shared folder must be on a file system with hard links, and writable from every host",
        ) from error
    files.sync_folder(place.parent)
    return True


def _read(path: Path, kind: type[V]) -> V | None:
    """What a file says; None for one that is being written or that a crash cut."""
    try:
        return kind.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None
