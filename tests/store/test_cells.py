"""A cell's folder is complete, unfinished or damaged, and nothing in between."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.domain.result import Result
from orchestrator.domain.telemetry import Sample
from orchestrator.errors import HostError, RequestError
from orchestrator.report.records import State
from orchestrator.store import tables
from orchestrator.store.cells import CellFolder
from tests.report.made import cell, failed, load, result

EXCHANGES = load(1, ttft_s=0.05, gap_s=0.01, tokens=40)
RESULT = result(cell(), EXCHANGES)
SAMPLES = [Sample(t_ns=1, source="engine", values={"engine.memory_bytes": 1.0})]
FILES = [
    "Dockerfile",
    "argv.json",
    "cell.json",
    "engine.log",
    "exchanges.parquet",
    "provenance.json",
    "result.json",
    "telemetry.parquet",
]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "deployment.log"
    path.write_text("ready\n")
    return path


@pytest.fixture
def folder(tmp_path: Path) -> CellFolder:
    return CellFolder(tmp_path / "cells" / RESULT.cell.id)


def save(folder: CellFolder, log: Path, one: Result = RESULT) -> None:
    folder.begin(one.cell)
    folder.save(one, exchanges=EXCHANGES, samples=SAMPLES, dockerfile="FROM base\n", engine_log=log)


def test_a_saved_cell_is_complete_and_whole(folder: CellFolder, log: Path) -> None:
    """All files of DESIGN.md section 7, and the result as it was."""
    save(folder, log)

    stored = folder.stored()
    assert (State.COMPLETE, RESULT, RESULT.cell) == (stored.state, stored.result, stored.cell)
    assert FILES == sorted(p.name for p in folder.path.iterdir())
    assert len(EXCHANGES) == len(tables.read_exchanges(folder.path / "exchanges.parquet"))
    assert SAMPLES == tables.read_samples(folder.path / "telemetry.parquet")
    assert ["serve", "--model", "/models/small"] == _json(folder, "argv.json")["argv"]


def test_a_failed_cell_is_complete_with_what_it_came_to(folder: CellFolder, log: Path) -> None:
    """A failure is a result: it is not measured again by mistake."""
    one = failed(cell())
    folder.save(one, engine_log=log.with_name("never-written.log"))

    assert (State.COMPLETE, one) == (folder.stored().state, folder.stored().result)
    assert ["cell.json", "result.json"] == sorted(p.name for p in folder.path.iterdir())


def test_a_begun_cell_is_unfinished(folder: CellFolder) -> None:
    """Its folder says what was being measured."""
    folder.begin(RESULT.cell)

    stored = folder.stored()
    assert (State.UNFINISHED, RESULT.cell, None) == (stored.state, stored.cell, stored.result)
    assert "measuring began but did not end" == stored.reason


def test_a_cell_without_a_folder_is_unfinished(folder: CellFolder) -> None:
    """It was planned and not begun."""
    assert (State.UNFINISHED, "not begun") == (folder.stored().state, folder.stored().reason)


@pytest.mark.parametrize("name", [n for n in FILES if n != "result.json"])
def test_an_altered_file_is_named(folder: CellFolder, log: Path, name: str) -> None:
    """One byte more is enough."""
    save(folder, log)
    path = folder.path / name
    path.write_bytes(path.read_bytes() + b" ")

    stored = folder.stored()
    assert (State.DAMAGED, None) == (stored.state, stored.result)
    assert f"{name} was altered after it was written" == stored.reason


@pytest.mark.parametrize("name", [n for n in FILES if n != "result.json"])
def test_a_missing_file_is_named(folder: CellFolder, log: Path, name: str) -> None:
    """A result without what it was made from is none."""
    save(folder, log)
    (folder.path / name).unlink()

    assert (State.DAMAGED, f"{name} is missing") == (folder.stored().state, folder.stored().reason)


def _more_speed(envelope: dict[str, Any]) -> object:
    envelope["result"]["metrics"]["tokens_per_s"] *= 2
    return envelope


def _unsealed(envelope: dict[str, Any]) -> object:
    return {"result": envelope["result"]}


def _bare(_: dict[str, Any]) -> object:
    return [1, 2]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_more_speed, "result.json was altered after it was written"),
        (_unsealed, "result.json lacks its seal"),
        (_bare, "result.json lacks its seal"),
    ],
)
def test_an_altered_result_is_no_result(
    folder: CellFolder, log: Path, change: Callable[[dict[str, Any]], object], reason: str
) -> None:
    """A figure cannot be edited by hand."""
    save(folder, log)
    path = folder.path / "result.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))

    assert (State.DAMAGED, reason) == (folder.stored().state, folder.stored().reason)


@pytest.mark.parametrize("content", [b"", b'{"files": {', b"\xff\xfe"])
def test_a_torn_result_is_no_result(folder: CellFolder, log: Path, content: bytes) -> None:
    """Not JSON, not read."""
    save(folder, log)
    (folder.path / "result.json").write_bytes(content)

    assert (State.DAMAGED, "result.json is not JSON") == (folder.stored().state, folder.stored().reason)


def test_a_result_of_another_version_is_not_guessed_at(
    folder: CellFolder, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unknown fields are told, not dropped."""
    dump = Result.model_dump
    monkeypatch.setattr(Result, "model_dump", lambda self, **k: dump(self, **k) | {"new_field": 1})
    save(folder, log)

    assert "result.json is not a result that this version can read (1 faults)" == folder.stored().reason


def test_reformatted_json_is_still_whole(folder: CellFolder, log: Path) -> None:
    """The seal is over the content, not over its white space."""
    save(folder, log)
    path = folder.path / "result.json"
    path.write_text(json.dumps(json.loads(path.read_text())))

    assert State.COMPLETE == folder.stored().state


def test_a_finished_cell_is_never_thrown_away(folder: CellFolder, log: Path) -> None:
    """Neither by beginning nor by saving again."""
    save(folder, log)

    with pytest.raises(RequestError, match="finished cell"):
        folder.begin(RESULT.cell)
    with pytest.raises(RequestError, match="finished cell"):
        folder.save(failed(cell()))

    assert RESULT == folder.stored().result


def test_a_new_attempt_starts_from_an_empty_folder(folder: CellFolder, log: Path) -> None:
    """What a damaged or unfinished attempt left would else be sealed with the new result."""
    save(folder, log)
    (folder.path / "engine.log").write_text("other")
    folder.begin(RESULT.cell)

    assert ["cell.json"] == [p.name for p in folder.path.iterdir()]


@pytest.mark.parametrize(("owner", "call"), [(os, "fsync"), (Path, "replace")])
def test_a_disk_that_fills_at_any_moment_leaves_no_false_result(
    tmp_path: Path, log: Path, monkeypatch: pytest.MonkeyPatch, owner: object, call: str
) -> None:
    """Every write fails once, in turn: the cell is unfinished, or complete with every byte right."""
    real = getattr(owner, call)
    states = []
    for fail_at in itertools.count():
        calls = itertools.count()
        monkeypatch.setattr(owner, call, _failing(real, calls, fail_at))
        folder = CellFolder(tmp_path / f"cell-{fail_at}")
        try:
            save(folder, log)
        except HostError:
            states.append(folder.stored().state)
            assert folder.stored().result in (None, RESULT)
            assert not [p for p in folder.path.iterdir() if p.name.endswith(".tmp")]
        else:
            break

    assert len(states) >= len(FILES)
    assert State.UNFINISHED in states
    assert State.DAMAGED not in states


def _failing(real: Callable[..., object], calls: itertools.count[int], fail_at: int) -> Callable[..., object]:
    def call(*args: object, **kwargs: object) -> object:
        if next(calls) == fail_at:
            raise OSError(28, "No space left on device")
        return real(*args, **kwargs)

    return call


def _json(folder: CellFolder, name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((folder.path / name).read_text())
    return loaded
