"""The whole reports, word by word."""

from __future__ import annotations

import re

import pytest

from orchestrator.report.figures import MARKS
from tests.report.goldens import FOLDER, GOLDENS, report, terminal


@pytest.mark.parametrize("name", GOLDENS)
def test_the_run_renders_to_its_golden_text(name: str) -> None:
    """A change of a report is seen and meant: `python -m tests.report.goldens` accepts it."""
    assert (FOLDER / name).read_text("utf-8") == GOLDENS[name]()


def test_no_figure_of_a_suspect_cell_stands_without_its_mark() -> None:
    """In every table row of the suspect load, whatever looks like a figure ends with its mark."""
    rows = [line for line in report().splitlines() if re.match(r"\| (16 +\||llama-cpp .*16 users)", line)]
    cells = [cell.strip() for row in rows for cell in row.strip("|").split("|")[3:]]

    assert 6 == len([row for row in rows if "llama-cpp" in row])
    assert [] == [c for c in cells if c[:1].isdigit() and not c.endswith("?")]


def test_an_unfinished_cell_shows_no_figure() -> None:
    """A half-written cell is named and has no number."""
    row = next(line for line in report().splitlines() if "unfinished" in line and line.startswith("|"))

    assert ["16", "vllm 0.32.0", "unfinished"] == [c.strip() for c in row.split("|")[1:4]]
    assert {"-"} == {c.strip() for c in row.split("|")[4:-1]}


@pytest.mark.parametrize("width", [20, 30, 45, 60, 80, 100, 120, 150, 200])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    """Columns go, then the table itself, but nothing is cut off or runs over."""
    lines = terminal(width).splitlines()

    assert width >= max(len(line.rstrip()) for line in lines)
    assert "…" not in terminal(width)


@pytest.mark.parametrize("width", [20, 60, 80, 200])
def test_the_token_rates_are_shown_at_any_width(width: int) -> None:
    """Whatever else is given up, the suspect mark is not."""
    shown = terminal(width)

    assert all(rate in shown for rate in ("89.0", "77.5", "182", "350?"))


def test_marks_differ() -> None:
    """Suspect and invalid can be told apart, and valid figures are plain."""
    assert ["", "?", "!"] == list(MARKS.values())
