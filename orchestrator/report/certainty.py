"""How sure the figures are, and what nobody looked at."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.domain.reasons import Reason
from orchestrator.domain.result import Result
from orchestrator.report import layout
from orchestrator.report.figures import CERTAINTY
from orchestrator.report.groups import load_name
from orchestrator.report.headline import Names


def sections(results: Sequence[Result], names: Names) -> list[str]:
    """Intervals within the run, sample sizes, and percentiles that count failures as infinite."""
    measured = [r for r in results if r.metrics is not None]
    if not measured:
        return []
    headings = ["engine", "load", *(column.title for column in CERTAINTY)]
    rows = [[names[r.cell.group], _load(r), *(c.figure(r) for c in CERTAINTY)] for r in measured]
    return ["## How sure the figures are", layout.table(headings, rows, texts=2)]


def unchecked(results: Sequence[Result], names: Names) -> list[str]:
    """Which reasons a verdict could not look for."""
    lines = unchecked_lines(results, names)
    return ["## What the verdicts did not look at", layout.bullets(lines)] if lines else []


def unchecked_lines(results: Sequence[Result], names: Names) -> list[str]:
    """Told once for all cells that lack the same."""
    lacking: dict[tuple[Reason, ...], list[str]] = {}
    for r in results:
        if r.verdict is not None and r.verdict.not_checked:
            lacking.setdefault(r.verdict.not_checked, []).append(f"{names[r.cell.group]}, {_load(r)}")
    return [
        f"not checked: {', '.join(reason.value for reason in reasons)} ({'; '.join(cells)})"
        for reasons, cells in lacking.items()
    ]


def _load(result: Result) -> str:
    return f"{result.cell.group.model}, {load_name(result.cell)}"
