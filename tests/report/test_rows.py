"""results.csv for other programs."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

from orchestrator.domain.distribution import Distribution
from orchestrator.report import rows
from tests.report import made

PAGE = Path(__file__).parents[2] / "docs" / "results.md"


def test_there_is_one_row_per_cell_with_every_column() -> None:
    """Also for cells that are no result."""
    parsed = list(csv.DictReader(io.StringIO(rows.csv_text(made.run().cells))))

    assert ["complete"] * 5 + ["unfinished"] == [row["state"] for row in parsed]
    assert {rows.COLUMNS} == {tuple(row) for row in parsed}


def test_figures_are_in_seconds_and_unrounded() -> None:
    """Rounding is for people."""
    row = rows.csv_rows(made.run().cells)[0]

    assert 89.0 == row["tokens_per_s"]
    assert 0.05 == row["ttft_s_p50"]


def test_what_does_not_exist_is_empty_not_zero() -> None:
    """A percentile without its sample, a failed cell's rate, an unfinished cell's everything."""
    valid, _, suspect, _, failed, unfinished = rows.csv_rows(made.run().cells)

    assert (None, None) == (valid["ttft_s_p99"], valid["failure"])
    assert ("suspect", "errors", 3) == (suspect["verdict"], suspect["reasons"], suspect["errors"])
    assert ("memory-kv-cache", "ready", None) == (
        failed["failure"],
        failed["failed_in"],
        failed["tokens_per_s"],
    )
    assert {None} == {value for name, value in unfinished.items() if name not in ("cell", "state")}


def test_every_column_is_documented() -> None:
    """docs/results.md lists the columns in order."""
    section = PAGE.read_text("utf-8").split("\n## results.csv\n")[1].split("\n## ")[0]

    assert list(rows.COLUMNS) == _expanded(re.findall(r"^\| `([^|]+)` \|", section, re.MULTILINE))


def _expanded(names: list[str]) -> list[str]:
    """`ttft_s_*` stands for its six columns."""
    parts = Distribution.model_fields
    return [c for n in names for c in ([f"{n[:-1]}{part}" for part in parts] if n.endswith("*") else [n])]
