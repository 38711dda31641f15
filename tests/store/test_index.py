"""The index over run folders: made from them, brought up to date, made again; real files, real processes."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from threading import Thread
from time import sleep
from typing import Any

import pytest

from orchestrator.domain.entry import Entry, Trait
from orchestrator.errors import HostError
from orchestrator.report.records import State
from orchestrator.store.cells import CellFolder
from orchestrator.store.index import NAME, VERSION, Fault, Index, _connected, _make_tables
from orchestrator.store.runs import RunFolder
from tests.report import made

ROOT = Path(__file__).resolve().parents[2]
RESULT = made.result(made.cell(users=1), made.load(1, ttft_s=0.05, gap_s=0.01, tokens=40))
FAILED = made.failed(made.cell("vllm", 4))


def run(runs: Path, name: str, *results: Any) -> RunFolder:
    """A run with those results."""
    folder = RunFolder.create(runs, name, {}, cells=[r.cell for r in results])
    for result in results:
        folder.cell(result.cell.id).save(result)
    return folder


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    run(tmp_path / "runs", "20261101-a", RESULT, FAILED)
    run(tmp_path / "runs", "20261102-b", RESULT)
    return tmp_path / "runs"


def read(index: Index) -> list[str]:
    """Brings it up to date; which runs were read for it."""
    said: list[str] = []
    index.refresh(said.append)
    return said


def test_every_result_is_an_entry(runs: Path) -> None:
    """With its figures and their intervals, its verdict or failure, what it ran on, and what phases took."""
    index = Index(runs)
    read(index)
    first, failed, second = sorted(index.entries(), key=lambda e: (e.run, e.backend))

    assert ("20261101-a", "20261101-a", "20261102-b") == (first.run, failed.run, second.run)
    assert RESULT.metrics is not None
    assert RESULT.metrics.tokens_per_s == first.figures["tokens_per_s"].value  # type: ignore[index]
    assert "sha256:aa" == first.traits[Trait.IMAGE]
    assert RESULT.phases_s == first.phases_s
    assert FAILED.failure is not None
    assert FAILED.failure.cause is failed.failure
    assert first.hardware_key == failed.hardware_key
    assert () == index.faults()


def test_only_what_is_new_is_read(runs: Path) -> None:
    """A run that has not changed is left alone, and one that goes on is read again."""
    index = Index(runs)
    folder = RunFolder.find(runs, "20261101-a")

    assert ["reads 20261101-a", "reads 20261102-b"] == read(index)
    assert [] == read(index)
    more = made.result(made.cell(users=4), made.load(4, ttft_s=0.05, gap_s=0.01, tokens=40))
    folder.cell(more.cell.id).save(more)
    assert ["reads 20261101-a"] == read(index)
    assert 4 == len(index.entries())


def test_a_sealed_cell_is_read_once(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often its run goes on: a night's large files are not hashed again for every new cell."""
    index = Index(runs)
    read(index)
    seen: list[str] = []
    original = RunFolder.cell

    def cell(self: RunFolder, name: str) -> CellFolder:
        seen.append(name)
        return original(self, name)

    monkeypatch.setattr(RunFolder, "cell", cell)
    (path,) = runs.glob("20261102-b/cells/*/result.json")
    path.touch()

    assert ["reads 20261102-b"] == read(index)
    assert [] == seen


def test_what_is_gone_is_forgotten(runs: Path) -> None:
    """A run that was removed, and a cell of another."""
    index = Index(runs)
    read(index)
    shutil.rmtree(runs / "20261102-b")
    shutil.rmtree(next(runs.glob("20261101-a/cells/vllm-*")))
    read(index)

    assert [("20261101-a", "llama-cpp")] == [(e.run, e.backend) for e in index.entries()]


def test_damage_is_told_and_stops_nothing(runs: Path) -> None:
    """A result that was altered, one that is no JSON, a run whose head is broken."""
    (path,) = runs.glob("20261102-b/cells/*/result.json")
    body = json.loads(path.read_text())
    body["result"]["started_at"] = "never"
    path.write_text(json.dumps(body))
    next(runs.glob("20261101-a/cells/vllm-*/result.json")).write_text("{")
    (runs / "20261103-c").mkdir()
    (runs / "20261103-c/run.json").write_text("not JSON")
    index = Index(runs)
    read(index)

    assert ["20261101-a"] == [e.run for e in index.entries()]
    broken, invalid, altered = index.faults()
    assert ("20261103-c", None) == (broken.run, broken.cell)
    assert Fault("20261101-a", FAILED.cell.id, "result.json is not JSON") == invalid
    assert "result.json was altered after it was written" == altered.reason


def test_what_was_mended_is_read_again(runs: Path) -> None:
    """A damaged cell is looked at whenever its run has changed, though its seal is the same."""
    (path,) = runs.glob("20261102-b/cells/*/provenance.json")
    whole = path.read_bytes()
    path.write_text("{}")
    index = Index(runs)
    read(index)
    assert 1 == len(index.faults())
    path.write_bytes(whole)
    (path.parent / "result.json").touch()
    read(index)

    assert () == index.faults()
    assert 3 == len(index.entries())


def test_an_unfinished_cell_is_no_entry(runs: Path) -> None:
    """Nor a fault: the run may be under way."""
    folder = RunFolder.create(runs, "20261104-d", {}, cells=[RESULT.cell])
    folder.cell(RESULT.cell.id).begin(RESULT.cell)
    index = Index(runs)
    read(index)

    assert State.UNFINISHED is folder.record().cells[0].state
    assert "20261104-d" not in {e.run for e in index.entries()}
    assert () == index.faults()


def test_it_is_made_again_from_nothing(runs: Path) -> None:
    """Deleted or rebuilt, it says the same; a rebuild looks at every file."""
    index = Index(runs)
    read(index)
    before = index.entries()
    index.path.unlink()
    read(index)
    assert before == index.entries()
    (path,) = runs.glob("20261102-b/cells/*/provenance.json")
    path.write_text("{}")
    read(index)
    assert before == index.entries()
    index.rebuild()

    assert ["provenance.json was altered after it was written"] == [f.reason for f in index.faults()]


@pytest.mark.parametrize(
    "content", [b"no database at all, but a text", b"SQLite format 3\0" + b"\xff" * 5000]
)
def test_a_file_that_is_no_database_is_replaced(runs: Path, content: bytes) -> None:
    """It holds nothing that the runs do not."""
    (runs / NAME).write_bytes(content)
    index = Index(runs)
    read(index)

    assert 3 == len(index.entries())


def test_another_versions_tables_are_made_anew(runs: Path) -> None:
    """As after an update of levelbench, also back to an older one."""
    index = Index(runs)
    read(index)
    db = sqlite3.connect(index.path)
    db.execute("ALTER TABLE cells ADD COLUMN later TEXT")
    db.execute(f"PRAGMA user_version = {VERSION + 1}")
    db.close()

    assert 2 == len(read(index))
    assert 3 == len(index.entries())


def test_several_processes_may_refresh_at_once(runs: Path) -> None:
    """Four at the same moment, on an index that is not there yet: all succeed, and it is whole."""
    for number in range(3, 13):
        run(runs, f"202611{number:02d}-n", RESULT)
    program = "import sys, pathlib; from orchestrator.store.index import Index; Index(pathlib.Path(sys.argv[1])).refresh()"
    started = [
        subprocess.Popen([sys.executable, "-c", program, str(runs)], cwd=ROOT, stderr=subprocess.PIPE)
        for _ in range(4)
    ]
    errors = [process.communicate(timeout=110)[1] for process in started]

    assert [b""] * 4 == errors
    assert 13 == len(Index(runs).entries())
    assert [] == read(Index(runs))


def test_tables_that_another_has_just_made_are_not_made_again(tmp_path: Path) -> None:
    """Both find none; who comes second waits, and looks again before it drops anything."""
    path = tmp_path / NAME
    quicker = sqlite3.connect(path)
    quicker.execute("BEGIN IMMEDIATE")
    slower = Thread(target=lambda: _connected(path).close())
    slower.start()
    sleep(1.0)  # for it to have looked; where that takes longer, this proves less and still passes
    _make_tables(quicker)
    quicker.execute("INSERT INTO runs VALUES ('20261101-a', 'kept', NULL, NULL)")
    quicker.commit()
    quicker.close()
    slower.join(100)
    db = sqlite3.connect(path)
    kept = db.execute("SELECT stamp FROM runs").fetchall()
    db.close()

    assert [("kept",)] == kept


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    """With what to do."""
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / NAME).mkdir()
    with pytest.raises(HostError, match="cannot be used") as caught:
        Index(tmp_path / "runs").refresh()

    assert "made again" in caught.value.hint


def test_no_runs_are_no_entries(tmp_path: Path) -> None:
    """And no file is left where there is no folder."""
    index = Index(tmp_path / "runs")
    index.refresh()
    index.rebuild()
    found: tuple[Entry, ...] = index.entries()

    assert () == found
    assert not (tmp_path / "runs").exists()
