"""Runs as what is judged: found by the name that a person gives, cut down to the cells that are meant."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.domain.result import Result
from orchestrator.errors import RequestError, unknown
from orchestrator.report.records import State
from orchestrator.store.runs import CELLS, LATEST, RUN, RunFolder


@dataclass(frozen=True, slots=True)
class Source:
    """A run, and those of its results that are meant. `plan` is as run.json has it."""

    name: str
    folder: RunFolder
    plan: dict[str, Any]
    results: tuple[Result, ...]


def find(runs_dir: Path, text: str) -> Source:
    """`<run>`, `<run>/<cell>`, `<run>/u16`, or a path that ends so. RequestError where there is no such run, cell or
    finished result."""
    folder, cell = _located(runs_dir, text)
    return of_folder(folder, cell)


def of_folder(folder: RunFolder, cell: str = "") -> Source:
    """The finished results of a run; of one cell if it is named."""
    record = folder.record()
    complete = [s.result for s in record.cells if s.state is State.COMPLETE and s.result is not None]
    chosen = tuple(r for r in complete if not cell or cell in (r.cell.id, r.cell.load.id))
    if not chosen:
        raise _nothing(folder, cell, complete)
    return Source(f"{folder.id}/{cell}" if cell else folder.id, folder, record.plan, chosen)


def newest(runs_dir: Path) -> tuple[RunFolder, ...]:
    """Every run of a folder, the one begun last first."""
    found = [path.parent for path in runs_dir.glob(f"*/{RUN}") if path.parent.name != LATEST]
    return tuple(RunFolder.open(path) for path in sorted(found, key=lambda p: p.name, reverse=True))


def _located(runs_dir: Path, text: str) -> tuple[RunFolder, str]:
    """A path to a run's folder first, then a name within the folder of runs."""
    path = Path(text)
    head, *rest = text.strip("/").split("/")
    for folder, cell in ((path, ""), (path.parent, path.name), (path.parent.parent, path.name)):
        if (folder / RUN).is_file() and (folder != path.parent.parent or path.parent.name == CELLS):
            return RunFolder.open(folder), cell
    if head == runs_dir.name and rest:  # `runs/<run>` from elsewhere than beside it
        head, *rest = rest
    return RunFolder.find(runs_dir, head), rest[-1] if rest else ""


def _nothing(folder: RunFolder, cell: str, complete: list[Result]) -> RequestError:
    if not complete:
        return RequestError(f"{folder.id} has no finished cell", hint="take another run, or measure it again")
    return unknown(f"finished cell of {folder.id}", cell, [r.cell.id for r in complete])
