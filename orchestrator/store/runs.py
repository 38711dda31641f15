"""A run's folder: its plan, its journal, its cells, its reports; and how runs are named and found."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timezone
from itertools import chain, count
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from backends import load_backends
from orchestrator.domain.cell import Cell
from orchestrator.domain.ledger import Ledger, ledger
from orchestrator.domain.plan import Plan
from orchestrator.domain.reruns import Changed
from orchestrator.errors import RequestError, unknown
from orchestrator.report import markdown, qualitative, rows
from orchestrator.report.cost import Price
from orchestrator.report.html import page as html
from orchestrator.report.html import render
from orchestrator.report.html.values import EMPTY, Page, Table
from orchestrator.report.records import RunRecord, Stored
from orchestrator.store import files
from orchestrator.store.cells import CellFolder

RUN = "run.json"
JOURNAL = "journal.jsonl"
CELLS = "cells"
SUPERSEDED = "superseded"
LOGS = "logs"
GATES = "gates"
LATEST = "latest"
REPORT = "report.md"
PAGE = "report.html"
TABLE = "results.csv"
LEDGER = "ledger.json"
IMPORTED = "imported.json"  # stands in a run that was measured elsewhere


@dataclass(frozen=True, slots=True)
class Journal:
    """A run's events. `torn` are the numbers of lines that a crash left incomplete, from 1."""

    entries: tuple[dict[str, Any], ...]
    torn: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class RunFolder:
    """`runs/<run>/`. Make one with `create`, find one with `open` or `find`."""

    path: Path

    @property
    def id(self) -> str:
        return self.path.name

    @property
    def imported(self) -> bool:
        """Whether it was measured elsewhere and brought here."""
        return (self.path / IMPORTED).exists()

    @classmethod
    def create(
        cls, root: Path, run_id: str, plan: dict[str, Any], *, cells: Sequence[Cell] = (), latest: bool = True
    ) -> RunFolder:
        """Begin a run; its id gets a suffix if the name is taken. `cells` are those it is going to measure;
        one that measures nothing is not the `latest`."""
        run = cls._begun(_new_folder(root, run_id), plan, cells)
        if latest:
            files.point_link(root / LATEST, run.id)
        return run

    @classmethod
    def create_at(cls, path: Path, plan: dict[str, Any], *, cells: Sequence[Cell] = ()) -> RunFolder:
        """Begin a run in a folder that a person named, which must be new or empty."""
        if not files.make_folder(path) and (not path.is_dir() or any(path.iterdir())):
            raise RequestError(f"{path} exists and is not empty", hint="name a folder that is not there yet")
        return cls._begun(path, plan, cells)

    @classmethod
    def _begun(cls, path: Path, plan: dict[str, Any], cells: Sequence[Cell]) -> RunFolder:
        run = cls(path)
        head = {"run": run.id, "created_at": utc_now(), "plan": plan, "cells": [c.id for c in cells]}
        text = json.dumps(head, indent=2, ensure_ascii=False)
        files.write_atomically(run.path / RUN, text.encode() + b"\n")
        return run

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """A run that exists. RequestError where there is none."""
        if not (path / RUN).is_file():
            raise RequestError(f"{path} is not a run: it has no {RUN}", hint="see the folder of runs")
        return cls(path.resolve())

    @classmethod
    def find(cls, root: Path, run_id: str = LATEST) -> RunFolder:
        """The run of that id, or the one that was begun last."""
        if not (root / run_id / RUN).is_file():
            known = [p.parent.name for p in root.glob(f"*/{RUN}") if p.parent.name != LATEST]
            if not known:
                raise RequestError(f"there is no run in {root} yet", hint="make one: make bench")
            if not run_id:
                raise RequestError("no run was named", hint=f"{LATEST}, or one of {', '.join(sorted(known))}")
            raise unknown("run", run_id, known)
        return cls.open(root / run_id)

    def journal(self, event: str, **facts: Any) -> None:
        """Note what happened, durably, before anything else happens."""
        entry = {"at": utc_now(), "event": event, **facts}
        files.append_line(self.path / JOURNAL, json.dumps(entry, default=str, ensure_ascii=False).encode())

    def read_journal(self) -> Journal:
        """All whole events, in order."""
        path = self.path / JOURNAL
        lines = path.read_bytes().split(b"\n") if path.exists() else []
        parsed = [(number, _entry(line)) for number, line in enumerate(lines, 1) if line]
        return Journal(
            entries=tuple(entry for _, entry in parsed if entry is not None),
            torn=tuple(number for number, entry in parsed if entry is None),
        )

    @property
    def is_over(self) -> bool:
        """Whether it came to its end after it was last begun or gone on with."""
        marks = [e["event"] for e in self.read_journal().entries if str(e.get("event")).startswith("run-")]
        return marks[-1:] == ["run-ended"]

    def ledger(self) -> Ledger:
        """Where the time went so far, all sittings together."""
        return ledger(self.read_journal().entries)

    def plan(self) -> Plan:
        """What it was to do: it can be carried out again. RequestError for a run that had no such plan."""
        try:
            return Plan.model_validate(self.head()["plan"])
        except ValidationError as error:
            raise RequestError(
                f"{self.path / RUN} holds no plan that this version can carry out ({error.error_count()} faults)",
                hint="measure anew: levelbench bench, or make nightly NEW=1",
            ) from error

    def cell(self, cell_id: str) -> CellFolder:
        return CellFolder(self.path / CELLS / cell_id)

    def set_aside(self, cell_id: str) -> Path:
        """Make room for measuring a cell again; what it had come to is kept, beside the cells."""
        names = (self.path / SUPERSEDED / f"{cell_id}.{number}" for number in count(1))
        place = next(path for path in names if not path.exists())
        with files.translated(place):
            place.parent.mkdir(exist_ok=True)
            (self.path / CELLS / cell_id).rename(place)
            files.sync_folder(place.parent)
            files.sync_folder(self.path / CELLS)
        return place

    def log_path(self, name: str) -> Path:
        """Where a deployment's log may grow; each cell keeps a copy of what it was at its end."""
        folder = self.path / LOGS
        with files.translated(folder):
            folder.mkdir(exist_ok=True)
        return folder / f"{name}.log"

    def gate_path(self, name: str) -> Path:
        """Where what the gate saw is kept: also where it refused, and no result holds it."""
        folder = self.path / GATES
        with files.translated(folder):
            folder.mkdir(exist_ok=True)
        return folder / f"{name}.json"

    def results(self) -> tuple[Stored, ...]:
        """Every cell of the plan, then any other that has a folder."""
        found = sorted(p.name for p in (self.path / CELLS).glob("*") if p.is_dir())
        planned = [str(cell_id) for cell_id in self.head()["cells"]]
        ids = [*planned, *(name for name in found if name not in planned)]
        left_out = self._left_out()
        stored = (self.cell(cell_id).stored() for cell_id in ids)
        return tuple(s.left_out(left_out[s.cell_id]) if s.cell_id in left_out else s for s in stored)

    def _left_out(self) -> dict[str, str]:
        """Cells that were left out last, and why: whoever goes on with the run may have begun them since."""
        found: dict[str, str] = {}
        for event in self.read_journal().entries:
            if event.get("event") == "cell-left-out":
                found[str(event.get("cell"))] = str(event.get("why", ""))
            elif event.get("event") in ("cell-began", "cell-ended", "cell-reused"):
                found.pop(str(event.get("cell")), None)
        return found

    def record(self) -> RunRecord:
        """The whole run as a value: what every report starts from."""
        head, journal, stored = self.head(), self.read_journal(), self.results()
        return RunRecord(
            id=self.id,
            created_at=head["created_at"],
            plan=head["plan"],
            cells=tuple(s for s in stored if not s.is_rerun),
            torn_lines=journal.torn,
            ledger=self.ledger() if (self.path / JOURNAL).exists() else None,
            changes=_changes(journal.entries),
            reruns=tuple(s for s in stored if s.is_rerun),
        )

    def write_reports(self, price: Price | None = None) -> tuple[Path, Path, Path]:
        """report.md, results.csv and report.html (and ledger.json), from what is stored; may be called again at any time."""
        record = self.record()
        report, table, page = self.path / REPORT, self.path / TABLE, self.path / PAGE
        files.write_atomically(report, markdown.report(record.cells, record).encode())
        files.write_atomically(table, rows.csv_text(record.cells).encode())
        files.write_atomically(page, render.html(self.page(record, price)).encode())
        if record.ledger is not None:
            text = json.dumps(record.ledger.record(), indent=2)
            files.write_atomically(self.path / LEDGER, text.encode() + b"\n")
        return report, table, page

    def page(self, record: RunRecord, price: Price | None = None) -> Page:
        """What report.html shows; it takes the raw records of one cell after the other."""
        measured = {s.cell_id: s.result for s in record.cells if s.result is not None}
        traces = {name: self.cell(name).trace(of) for name, of in measured.items()}
        return html.page(record, traces, price, compared=_compared(record))

    def head(self) -> dict[str, Any]:
        """When it was begun, its plan, and the cells that it names. RequestError where that cannot be read."""
        try:
            head = json.loads((self.path / RUN).read_bytes())
            return {name: head[name] for name in ("created_at", "plan", "cells")}
        except (OSError, ValueError, KeyError, TypeError) as error:
            hint = "it was not written by levelbench, or was altered since"
            raise RequestError(f"cannot read {self.path / RUN}: {error}", hint=hint) from error


def _compared(record: RunRecord) -> Table:
    """Of a comparison's engines, what the article's qualitative table told."""
    used = {stored.cell.group.backend for stored in record.cells if stored.cell is not None}
    known = [backend for name, backend in load_backends().items() if name in used]
    if len(known) < 2:  # noqa: PLR2004
        return EMPTY
    return Table(qualitative.HEADINGS, qualitative.rows(known), texts=len(qualitative.HEADINGS))


def load(path: Path) -> RunRecord:
    """A run's record from its folder."""
    return RunFolder.open(path).record()


def run_id(now: datetime, *words: str) -> str:
    """A name that sorts by time and says what was measured: <UTC time>-<backends>-<models>."""
    label = re.sub(r"[^a-z0-9.]+", "-", "-".join(words).lower()).strip("-.")
    stamp = now.astimezone(timezone.utc).strftime("%Y%m%d-%H%M%S")
    return f"{stamp}-{label}"[:100].rstrip("-.")


def utc_now() -> str:
    """Wall clock for people; never for arithmetic."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")


def today() -> date:
    """In UTC, like every time that is stored."""
    return datetime.now(timezone.utc).date()


def _new_folder(root: Path, name: str) -> Path:
    names = chain([name], (f"{name}-{number}" for number in count(2)))
    return next(root / free for free in names if files.make_folder(root / free))


def _changes(events: Sequence[dict[str, Any]]) -> tuple[Changed, ...]:
    """What the run said when it was last held against earlier ones."""
    found: list[Changed] = []
    for event in events:
        if event.get("event") == "history-judged":
            found.clear()
        elif event.get("event") == "change-judged":
            found.append(Changed.model_validate({name: event.get(name) for name in Changed.model_fields}))
    return tuple(found)


def _entry(line: bytes) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) else None
