"""Static pages over many runs."""

from __future__ import annotations

import json
import re
from pathlib import Path
from urllib.parse import unquote

import pytest

from orchestrator.domain.cell import Role
from orchestrator.errors import RequestError
from orchestrator.report.html.changes import ChangePoint, News, Past
from orchestrator.report.html.site import RATE, site
from orchestrator.report.records import RunRecord
from orchestrator.store import sites
from orchestrator.store.runs import RunFolder
from tests.report import gpu_run, made


def runs() -> list[RunRecord]:
    """The same cell on three days, faster each day; on the second another engine failed."""
    found = []
    for day, gap_s in enumerate((0.02, 0.015, 0.01), 1):
        cells = [
            made.stored(made.result(made.cell(users=4), made.load(4, ttft_s=0.08, gap_s=gap_s, tokens=40)))
        ]
        if day == 2:
            cells.append(
                made.stored(made.failed(made.cell("vllm", 4), provenance=made.provenance(made.group("vllm"))))
            )
        found.append(
            RunRecord(id=f"run-{day}", created_at=f"2026-11-0{day}T00:00:00.000+00:00", cells=tuple(cells))
        )
    return found


def test_the_matrix_shows_the_newest_cell_of_each_series() -> None:
    """With the run that it is from; a series that ended in failure says so."""
    (matrix,) = site(list(reversed(runs()))).matrices
    rows = dict(matrix.rows)

    assert ("4 users",) == matrix.loads
    assert ("run-3", "2026-11-03") == (rows["llama-cpp"][0].run_id, rows["llama-cpp"][0].day)
    assert ("run-2", "failed: memory-kv-cache") == (rows["vllm"][0].run_id, rows["vllm"][0].instead)


def test_a_series_is_every_run_in_time() -> None:
    found = site(runs())
    rate = found.deck.charts[found.plots[0][1][0].charts[0].id][2]

    assert [f"2026-11-0{day}" for day in (1, 2, 3)] == [row["at"][:10] for row in rate]
    assert rate[0]["y"] < rate[1]["y"] < rate[2]["y"]
    assert all(row["low"] <= row["y"] <= row["high"] for row in rate)


def test_a_change_point_stands_at_its_run_in_chart_and_words() -> None:
    """The judgement comes from elsewhere; the page only shows it."""
    cell = runs()[1].cells[0].cell_id
    found = site(runs(), Past((ChangePoint("run-2", cell, RATE, "tok/s rose by 30 %", "+30 %"),)))
    plot = found.plots[0][1][0]

    assert ["", "tok/s rose by 30 %", ""] == [row["change"] for row in plot.charts[0].rows]
    assert ("2026-11-02, llama-cpp: tok/s rose by 30 %",) == plot.changes
    assert ["", "", ""] == [row["change"] for row in plot.charts[1].rows]


def test_news_lead_to_where_their_series_is_drawn() -> None:
    """Of a cell that no page has there is no link."""
    drawn = runs()[1].cells[0].cell_id
    found = site(
        runs(), Past(news=(News("run-2", drawn, "worse", "a", "b"), News("run-2", "gone", "worse", "a", "b")))
    )

    assert [found.plots[0][1][0].anchor, ""] == [line.anchor for line in found.headlines]


def test_cells_that_differ_in_more_than_the_version_are_never_joined() -> None:
    """As in the history: another option of the user is another series, and is called by it."""
    plain = made.result(made.cell(users=4), made.load(4, ttft_s=0.08, gap_s=0.02, tokens=40))
    other = made.result(
        made.cell(users=4, extra_args=("--x",)), made.load(4, ttft_s=0.08, gap_s=0.02, tokens=40)
    )
    newer = made.result(made.cell(users=4, version="9"), made.load(4, ttft_s=0.08, gap_s=0.02, tokens=40))
    found = site(
        [
            RunRecord(id=f"r{i}", created_at=f"2026-11-0{i}", cells=(made.stored(r),))
            for i, r in enumerate((plain, other, newer), 1)
        ]
    )
    rows = {
        row["words"].rpartition(" ")[2]: row
        for row in found.deck.charts[found.plots[0][1][0].charts[0].id][2]
    }

    assert rows["r1"]["line"] == rows["r3"]["line"] != rows["r2"]["line"]
    assert {"llama-cpp", "llama-cpp (--x)"} == {row["engine"] for row in rows.values()}


@pytest.mark.parametrize("role", [Role.CONTROL, Role.CONFIRM])
def test_control_cells_and_confirmations_are_no_series(role: Role) -> None:
    one = made.result(made.cell(users=4, role=role), made.load(4, ttft_s=0.08, gap_s=0.02, tokens=40))

    assert () == site([RunRecord(id="r", created_at="2026-11-01", cells=(made.stored(one),))]).matrices


def test_methods_never_share_a_series() -> None:
    """Figures of another METHOD are another thing."""
    old, *rest = runs()
    one = old.cells[0].result
    assert one
    before = RunRecord(
        id="run-0", created_at="2026-10-01", cells=(made.stored(one.model_copy(update={"method": 1})),)
    )

    assert 2 == len(site([before, *rest]).matrices)


def test_a_cell_that_never_ended_is_no_gap() -> None:
    """It stands where its run's other cells do."""
    run = made.run()
    (matrix,) = site([run]).matrices

    assert "unfinished" == dict(matrix.rows)["vllm"][-1].instead


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs through the real stores and the folder of pages made of them."""
    root = tmp_path_factory.mktemp("runs")
    for name in ("20240601-made-up", "20240602-made-up"):
        gpu_run.write(root / name, length_s=25, users=(4,))
    broken = root / "20240603-broken"
    broken.mkdir()
    (broken / "run.json").write_text("{")
    said: list[str] = []
    index = sites.write(root, root / "out", say=said.append)
    assert 1 == len(said)
    assert "20240603-broken" in said[0]
    return index


def test_every_link_is_relative_and_leads_to_a_file(written: Path) -> None:
    """So that any file server can serve it, or none."""
    for page in written.parent.rglob("*.html"):
        for link in re.findall(r'href="([^"#][^"#]*)', page.read_text("utf-8")):
            if link != "data:,":
                assert not re.match(r"[a-z]+:|/", link)
                assert (page.parent / unquote(link)).is_file(), link


def test_each_run_has_its_reports(written: Path) -> None:
    names = {p.name for p in (written.parent / "runs" / "20240601-made-up").iterdir()}

    assert {"report.html", "report.md", "results.csv"} == names


def test_without_a_run_there_is_no_site(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="there is no run"):
        sites.write(tmp_path, tmp_path / "out")


def test_a_run_begun_on_another_day_keeps_its_place(written: Path) -> None:
    """The order is that of beginning, not of names."""
    head = json.loads((written.parents[1] / "20240601-made-up" / "run.json").read_text())

    assert RunFolder.open(written.parents[1] / "20240601-made-up").record().created_at == head["created_at"]
