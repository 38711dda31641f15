"""A suspect figure is never printed without its mark, in no output."""

from __future__ import annotations

import html
import io
import json
import re
from collections.abc import Iterator
from functools import cache

import pytest
from rich.console import Console

from orchestrator.domain.reasons import Finding, Level, Reason
from orchestrator.domain.result import Result
from orchestrator.domain.stationarity import Drift, Figure, Shape, Stationarity
from orchestrator.domain.verdict import Verdict
from orchestrator.report import console, headline, markdown, rows
from orchestrator.report.html import page as pages
from orchestrator.report.html import render
from orchestrator.report.html.values import Page
from orchestrator.report.records import RunRecord
from tests.report.made import GPU_MEANS, cell, load, result, stored

OUTPUTS = (
    "report.md",
    "report.html",
    "charts",
    "plain",
    "one line",
    "console 200",
    "console 80",
    "console 30",
)
SUSPECT = Verdict(
    level=Level.SUSPECT,
    findings=(Finding(reason=Reason.CLIENT_LATE, level=Level.SUSPECT, text="the host was busy"),),
)
VALID = Verdict(level=Level.VALID)


def engine(name: str, speed: float, verdict: Verdict) -> Result:
    """A result whose every figure depends on the speed."""
    one = result(
        cell(name, 8),
        load(8, ttft_s=0.0531 / speed, gap_s=0.0127 / speed, tokens=round(37 * speed), failing=round(speed)),
        client_cpu_s=1.07 * speed,
        verdict=verdict,
    )
    assert one.metrics is not None
    drift = Drift(
        figure=Figure.TOKEN_RATE, shape=Shape.STEP, at_s=77 * speed, before=777 * speed, after=7, p=0.002
    )
    changed = one.metrics.model_copy(update={"stationarity": Stationarity(windows=56, drifts=(drift,))})
    means = {series: value * speed for series, value in ({"engine.cpu_cores": 1.93} | GPU_MEANS).items()}
    peaks = {"engine.memory_bytes": 433 * 2**20 * speed}
    telemetry = one.telemetry.model_copy(update={"mean": means, "max": peaks})
    return one.model_copy(update={"metrics": changed, "telemetry": telemetry})


@cache
def texts(speed: float, verdict: Verdict, *, engines: int) -> dict[str, str]:
    """Everything that prints figures for people."""
    results = [engine(name, speed * (1 + i / 7), verdict) for i, name in enumerate(("a", "b")[:engines])]
    cells = tuple(stored(r) for r in results)
    shown = {width: io.StringIO() for width in (200, 80, 30)}
    for width, screen in shown.items():
        for renderable in console.tables(cells):
            Console(file=screen, width=width, color_system=None).print(renderable)
    run = RunRecord(id="r", created_at="now", cells=cells)
    page = pages.page(run, {})
    return {
        "report.md": markdown.report(cells, run),
        "report.html": visible(render.html(page)),
        "charts": "\n".join(said(page)),
        "plain": console.plain(cells),
        "one line": "\n".join(headline.one_line(r) for r in results),
        **{f"console {width}": screen.getvalue() for width, screen in shown.items()},
    }


def visible(page: str) -> str:
    """What a reader sees of a page, a line per cell, item or paragraph."""
    body = re.sub(r"<(style|script|title)\b.*?</\1>", "", page, flags=re.DOTALL)
    parted = re.sub(r"</?(t[dh]|li|p|h\d|summary|dd|figcaption|div)\b[^>]*>", "|", body)
    return html.unescape(re.sub(r"<[^>]+>", "", parted)).replace("\n", "|")


def said(page: Page) -> Iterator[str]:
    """Every word that a chart shows by itself or when it is pointed at."""
    for chart in pages.charts_of(page.works):
        yield chart.note
        for row in chart.rows:
            yield from (str(row[name]) for name in ("words", "label", "short") if name in row)


def figures(text: str) -> set[str]:
    return set(re.findall(r"(?<![\w.,])\d[\d,.]*\d|(?<![\w.,])\d", text))


def unmarked(text: str, known: set[str]) -> list[str]:
    """Cells of a table, or parts of a sentence, that hold one of the figures and no mark after it."""
    lines = [line for line in text.splitlines() if not line.startswith("Over time: suspect: ")]
    cells = [c.strip() for line in lines for c in re.split(r"\||\s{2,}|, |; |`", line)]
    return [c for c in cells for f in figures(c) & known if "?" not in c[c.index(f) :]]


@pytest.mark.parametrize("engines", [1, 2])
@pytest.mark.parametrize("name", OUTPUTS)
def test_no_suspect_figure_is_without_its_mark(name: str, engines: int) -> None:
    """What differs between two runs of different speed is a figure; in a suspect run each has its mark."""
    slow, fast = (texts(speed, VALID, engines=engines)[name] for speed in (1.0, 1.9))
    known = figures(slow) - figures(fast)

    assert len(known) >= 2
    assert [] == unmarked(texts(1.0, SUSPECT, engines=engines)[name], known)
    assert [] != unmarked(slow, known)


def test_the_row_of_a_suspect_cell_says_so() -> None:
    """Programs read the verdict beside the figures: in results.csv and in the JSON of every result."""
    one = engine("a", 1.0, SUSPECT)
    (row,) = rows.csv_rows([stored(one)])
    printed = json.loads(json.dumps(one.model_dump(mode="json")))

    assert ("suspect", "client-late") == (row["verdict"], row["reasons"])
    assert printed["metrics"]
    assert "suspect" == printed["verdict"]["level"]
