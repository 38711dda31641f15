"""An SQLite index over all run folders, for history and estimates. It may be deleted at any time: run folders are the
truth, and it is made from them again.

Only what has changed since is read: a run whose result files have the sizes and times that they had is left alone,
and so is a cell whose seal is the one that was read. Every run is written in a transaction of its own, so that
several processes may bring the index up to date at once.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from backends.contract import ServeSpec
from orchestrator.domain.entry import Entry, entry
from orchestrator.domain.provenance import Provenance
from orchestrator.errors import BenchError, HostError
from orchestrator.report.records import State, Stored
from orchestrator.store.cells import PROVENANCE, RESULT
from orchestrator.store.runs import CELLS, LATEST, RUN, RunFolder

NAME = "history.sqlite"
VERSION = 3  # of the tables, and of what is put into them
BUSY_S = 60.0
T = TypeVar("T")
_TABLES = """
CREATE TABLE runs (run TEXT PRIMARY KEY, stamp TEXT NOT NULL, created_at TEXT, fault TEXT);
CREATE TABLE cells (
    run TEXT NOT NULL REFERENCES runs ON DELETE CASCADE, cell TEXT NOT NULL, seal TEXT NOT NULL, fault TEXT,
    cell_key TEXT, hardware_key TEXT, method INTEGER, started_at TEXT, backend TEXT, model TEXT, entry TEXT,
    PRIMARY KEY (run, cell)
);
CREATE INDEX series ON cells (cell_key, hardware_key, method, started_at);
"""


@dataclass(frozen=True, slots=True)
class Fault:
    """A run, or a cell of it, that cannot be read."""

    run: str
    cell: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class Index:
    """The index of a folder of runs. Nothing is open between calls."""

    runs_dir: Path

    @property
    def path(self) -> Path:
        return self.runs_dir / NAME

    def refresh(self, progress: Callable[[str], None] = lambda _: None) -> None:
        """Bring it up to date with the run folders. HostError where it cannot be written."""
        if self.runs_dir.is_dir():
            self._using(lambda db: _refresh(db, self.runs_dir, progress))

    def rebuild(self, progress: Callable[[str], None] = lambda _: None) -> None:
        """Forget everything and read all run folders again, every file of them against its seal."""
        if self.runs_dir.is_dir():
            self._using(_forget)
            self.refresh(progress)

    def entries(self) -> tuple[Entry, ...]:
        """Every readable result, oldest first."""
        found = self._asked("SELECT entry FROM cells WHERE entry IS NOT NULL ORDER BY started_at, run")
        return tuple(Entry.model_validate_json(text) for (text,) in found)

    def faults(self) -> tuple[Fault, ...]:
        """What could not be read, and why."""
        runs = self._asked("SELECT run, NULL, fault FROM runs WHERE fault IS NOT NULL ORDER BY run")
        cells = self._asked("SELECT run, cell, fault FROM cells WHERE fault IS NOT NULL ORDER BY run, cell")
        return tuple(Fault(*row) for row in (*runs, *cells))

    def _asked(self, question: str) -> list[Any]:
        return self._using(lambda db: db.execute(question).fetchall()) if self.path.exists() else []

    def _using(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """A file that is no database, or a broken one, is made again: nothing is in it but what was read."""
        with _translated(self.path):
            try:
                return _with(self.path, work)
            except sqlite3.OperationalError:
                raise  # busy, full, read-only: the file itself is sound
            except sqlite3.DatabaseError:
                for path in (self.path, self.path.with_name(f"{NAME}-journal")):
                    path.unlink(missing_ok=True)
                return _with(self.path, work)


def _with(path: Path, work: Callable[[sqlite3.Connection], T]) -> T:
    with closing(_connected(path)) as db:
        return work(db)


def _forget(db: sqlite3.Connection) -> None:
    with db:
        db.execute("DELETE FROM runs")


def _refresh(db: sqlite3.Connection, runs_dir: Path, progress: Callable[[str], None]) -> None:
    known = dict(db.execute("SELECT run, stamp FROM runs").fetchall())
    folders = {path.parent.name: path.parent for path in sorted(runs_dir.glob(f"*/{RUN}"))}
    folders.pop(LATEST, None)
    with db:
        db.executemany("DELETE FROM runs WHERE run = ?", [(run,) for run in known if run not in folders])
    for run, folder in folders.items():
        stamp = _stamp(folder)
        if known.get(run) != stamp:
            progress(f"reads {run}")
            _take(db, folder, stamp)


def _connected(path: Path) -> sqlite3.Connection:
    """With the tables of this version; those of another are dropped."""
    db = sqlite3.connect(path, timeout=BUSY_S)
    try:
        db.execute("PRAGMA foreign_keys = ON")
        if _version(db) != VERSION:
            with db:
                db.execute("BEGIN IMMEDIATE")
                if _version(db) != VERSION:  # nobody was quicker
                    _make_tables(db)
    except BaseException:
        db.close()
        raise
    return db


def _version(db: sqlite3.Connection) -> int:
    (found,) = db.execute("PRAGMA user_version").fetchone()
    return int(found)


def _make_tables(db: sqlite3.Connection) -> None:
    for name in ("cells", "runs"):
        db.execute(f"DROP TABLE IF EXISTS {name}")
    for statement in filter(str.strip, _TABLES.split(";")):
        db.execute(statement)
    db.execute(f"PRAGMA user_version = {VERSION}")


def _take(db: sqlite3.Connection, folder: Path, stamp: str) -> None:
    """One run: its cells whose seal is another than the one that was read, and without those that are gone."""
    run = folder.name
    seals = {path.parent.name: _seal(path) for path in sorted(folder.glob(f"{CELLS}/*/{RESULT}"))}
    known = dict(db.execute("SELECT cell, iif(fault IS NULL, seal, '') FROM cells WHERE run = ?", (run,)))
    new = [name for name, seal in seals.items() if known.get(name) != seal]
    created_at, fault, rows = _read(folder, new, seals)
    with db:
        db.execute(
            "INSERT INTO runs VALUES (?, ?, ?, ?) ON CONFLICT (run) DO UPDATE SET "
            "stamp = excluded.stamp, created_at = excluded.created_at, fault = excluded.fault",
            (run, stamp, created_at, fault),
        )
        gone = [(run, name) for name in known if name not in seals]
        db.executemany("DELETE FROM cells WHERE run = ? AND cell = ?", gone)
        db.executemany(f"INSERT OR REPLACE INTO cells VALUES ({', '.join('?' * 11)})", rows)  # noqa: S608


def _read(
    folder: Path, names: Sequence[str], seals: Mapping[str, str]
) -> tuple[str | None, str | None, list[tuple[Any, ...]]]:
    """When the run began, why it cannot be read if it cannot, and those cells as rows."""
    run = RunFolder(folder)
    try:
        head = run.head()
    except BenchError as error:
        return None, str(error), []
    serves, sibling = _serves(run), _sibling(folder)
    rows = [_row(run.id, run.cell(name).stored(), seals[name], serves, sibling) for name in names]
    return str(head["created_at"]), None, rows


def _row(
    run: str, stored: Stored, seal: str, serves: Mapping[str, ServeSpec], sibling: Provenance | None
) -> tuple[Any, ...]:
    if stored.state is not State.COMPLETE or stored.result is None:
        return (run, stored.cell_id, seal, stored.reason, *[None] * 7)
    group = stored.result.cell.group.id
    e = entry(run, stored.result, sibling=sibling, serve=serves.get(group))
    columns = (e.cell_key, e.hardware_key, e.method, e.started_at, e.backend, e.model)
    return (run, e.cell, seal, None, *columns, e.model_dump_json())


def _serves(run: RunFolder) -> dict[str, ServeSpec]:
    """How each group's engine was planned to be started; of a load on an endpoint nobody planned that."""
    try:
        return {group.group.id: group.serve for group in run.plan().groups}
    except BenchError:
        return {}


def _sibling(folder: Path) -> Provenance | None:
    """What any cell of the run noted: they share a host."""
    for path in sorted(folder.glob(f"{CELLS}/*/{PROVENANCE}")):
        with suppress(OSError, ValueError):
            return Provenance.model_validate_json(path.read_bytes())
    return None


def _stamp(folder: Path) -> str:
    """Changes with every result that comes, goes or is written again."""
    digest = hashlib.sha256()
    for path in sorted((folder / RUN, *folder.glob(f"{CELLS}/*/{RESULT}"))):
        try:
            found = path.stat()
        except OSError:  # it went away meanwhile
            continue
        digest.update(f"{path}\0{found.st_size}\0{found.st_mtime_ns}\0".encode())
    return digest.hexdigest()


def _seal(path: Path) -> str:
    """The result's own digest; of a file that has none, the digest of the file."""
    try:
        data = path.read_bytes()
    except OSError as error:
        return f"unreadable: {error.strerror}"
    try:
        return str(json.loads(data)["result_sha256"])
    except (ValueError, KeyError, TypeError):
        return hashlib.sha256(data).hexdigest()


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise HostError(
            f"the index {path} cannot be used: {error}",
            hint="make the folder of runs writable, or remove the index: it is made again",
        ) from error
