"""Run folders: named, found, journalled, reported."""

from __future__ import annotations

import json
import os
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from orchestrator.errors import HostError, RequestError
from orchestrator.report.records import State
from orchestrator.store.runs import Journal, RunFolder, load, run_id
from tests.report import made

RUN_ID = "20261123-043000-llama-cpp-small"


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    cells = [made.cell(users=1), made.cell(users=4)]
    return RunFolder.create(tmp_path / "runs", RUN_ID, {"backends": ["llama-cpp"]}, cells=cells)


def test_run_ids_say_when_in_utc_and_what() -> None:
    """The local time zone does not disturb their order."""
    local = datetime(2026, 11, 23, 6, 30, tzinfo=timezone(timedelta(hours=2)))

    assert RUN_ID == run_id(local, "llama-cpp", "small")
    assert "20261123-043000-a-b.c" == run_id(local, "A/b.c ")
    assert len(run_id(local, "x" * 200)) <= 100


def test_a_taken_name_gets_a_suffix(run: RunFolder) -> None:
    """Two runs of one second do not mix."""
    again = [RunFolder.create(run.path.parent, RUN_ID, {}).id for _ in range(2)]

    assert [f"{RUN_ID}-2", f"{RUN_ID}-3"] == again


def test_latest_points_to_the_newest_run(run: RunFolder) -> None:
    """It is relative, so that the folder may be moved."""
    second = RunFolder.create(run.path.parent, RUN_ID, {})

    assert second.id == str((run.path.parent / "latest").readlink())
    assert second == RunFolder.find(run.path.parent)
    assert run == RunFolder.find(run.path.parent, RUN_ID)


def test_an_unknown_run_names_the_nearest(run: RunFolder) -> None:
    """And lists all."""
    with pytest.raises(RequestError, match=f"Did you mean '{RUN_ID}'") as caught:
        RunFolder.find(run.path.parent, RUN_ID[:-1])

    assert f"known: {RUN_ID}" == caught.value.hint


def test_no_run_at_all_says_how_to_make_one(tmp_path: Path) -> None:
    """A first-time user has none."""
    with pytest.raises(RequestError, match="no run") as caught:
        RunFolder.find(tmp_path)

    assert "make bench" in caught.value.hint


def test_a_folder_without_a_plan_is_no_run(tmp_path: Path) -> None:
    """A crash before run.json leaves nothing that looks like one."""
    with pytest.raises(RequestError, match="is not a run"):
        load(tmp_path)


@pytest.mark.parametrize("content", ["{", "[]", '{"plan": {}}'])
def test_an_unreadable_plan_is_an_error(run: RunFolder, content: str) -> None:
    """Not a crash, and not an empty report."""
    (run.path / "run.json").write_text(content)

    with pytest.raises(RequestError, match=r"cannot read .*run\.json"):
        run.record()


def test_the_journal_keeps_events_in_order(run: RunFolder) -> None:
    """With time, event and facts; what JSON does not know becomes text."""
    run.journal("begin", cell="a", path=Path("x"))
    run.journal("end", phase_s=1.5)

    entries = run.read_journal().entries
    assert [("begin", "x"), ("end", None)] == [(e["event"], e.get("path")) for e in entries]
    assert [True, True] == [str(e["at"]).endswith("+00:00") for e in entries]


def test_a_torn_line_is_skipped_and_told(run: RunFolder) -> None:
    """Whether it is the last or was followed by others after a restart."""
    run.journal("one")
    with (run.path / "journal.jsonl").open("ab") as file:
        file.write(b'{"event": "tw')

    assert (2,) == run.read_journal().torn

    run.journal("three")
    assert ["one", "three"] == [e["event"] for e in run.read_journal().entries]
    assert (2,) == run.record().torn_lines


def test_a_line_that_is_no_object_is_torn(run: RunFolder) -> None:
    """A number is what a tear may leave, too."""
    (run.path / "journal.jsonl").write_bytes(b"12\n")

    assert Journal(entries=(), torn=(1,)) == run.read_journal()


def test_a_run_without_journal_has_no_events(run: RunFolder) -> None:
    """Nothing happened yet."""
    assert Journal(entries=()) == run.read_journal()


def test_results_follow_the_plan(run: RunFolder) -> None:
    """Planned cells in their order, begun or not; then whatever else has a folder."""
    run.cell("another").begin(made.cell("vllm"))
    run.cell(made.cell(users=4).id).save(made.failed(made.cell(users=4)))

    found = [(s.cell_id, s.state) for s in run.results()]
    assert [
        (made.cell(users=1).id, State.UNFINISHED),
        (made.cell(users=4).id, State.COMPLETE),
        ("another", State.UNFINISHED),
    ] == found


def test_reports_come_from_what_is_stored(run: RunFolder) -> None:
    """They are made again from the folder alone, and name what is missing."""
    run.cell(made.cell(users=4).id).save(made.failed(made.cell(users=4)))
    report, table, _ = RunFolder.open(run.path).write_reports()
    first = report.read_text("utf-8")
    run.write_reports()

    assert first == report.read_text("utf-8")
    assert f"# levelbench run {RUN_ID}" == first.splitlines()[0]
    assert f"`{made.cell(users=1).id}`: unfinished, not begun" in first
    assert 3 == len(table.read_text("utf-8").splitlines())


def test_the_plan_is_kept_as_it_was_given(run: RunFolder) -> None:
    """It is what a later run is made from."""
    assert {"backends": ["llama-cpp"]} == run.record().plan
    assert RUN_ID == json.loads((run.path / "run.json").read_text())["run"]


def test_logs_have_a_place_while_they_grow(run: RunFolder) -> None:
    """One per deployment, in a folder that exists."""
    run.log_path("a").write_text("x")

    assert run.path / "logs" / "b.log" == run.log_path("b")


def test_a_refused_plan_leaves_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without run.json there is nothing that a report would read."""

    def refuse(_: int) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "fsync", refuse)

    with pytest.raises(HostError, match="Permission denied"):
        RunFolder.create(tmp_path, RUN_ID, {})
    with pytest.raises(RequestError, match="no run"):
        RunFolder.find(tmp_path, RUN_ID)
