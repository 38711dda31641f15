"""Runs held against each other as text. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.domain.differences import Area, Difference
from orchestrator.domain.equivalence import Basis
from orchestrator.domain.pairs import Comparison, Contrast
from orchestrator.report import layout, units
from orchestrator.report.labels import label, printed

HOW = (
    "Ratios are of the second to the first, with 95 % intervals. `*`: the difference is significant at 5 % after Holm's "
    "correction over every figure of this comparison. p is corrected. `?`: one of the two cells is suspect."
)
WITHIN = (
    "Of single runs the intervals hold what figures moved within them: a significant difference is one of these runs, "
    "and may be gone with the next start. Repeat runs and name them together, with commas: that is settled by whole runs."
)


def text(comparisons: Sequence[Comparison]) -> str:
    """Each comparison: effects, who was left out, what else differs."""
    parts = [part for one in comparisons for part in _one(one)]
    alone = any(c.basis is Basis.WITHIN for one in comparisons for c in one.contrasts)
    return "\n\n".join([*parts, HOW, *([WITHIN] if alone else [])]) + "\n"


def beside(one: Comparison) -> str:
    """A setting beside another of the same cell: what it did, and by which settings."""
    settings = [d for d in one.differences if d.area is Area.SETTINGS]
    return "\n\n".join([f"## PROFILE={one.first} beside {one.second}", _table(one), differing(settings), HOW])


def differing(found: Sequence[Difference], sides: tuple[str, str] = ("first", "second")) -> str:
    """Every field that is not the same, the weightiest first."""
    if not found:
        return "Nothing else that is known of the two differs."
    rows = [[d.area.value, d.field, d.first or units.NOTHING, d.second or units.NOTHING] for d in found]
    return f"## What else differs\n\n{layout.table(['area', 'field', *sides], rows, texts=4)}"


def _one(one: Comparison) -> list[str]:
    title = f"# {one.second} against {one.first}"
    left_out = [f"## Left out\n\n{layout.bullets(one.left_out)}"] if one.left_out else []
    return [title, f"Paired by {one.paired_by}.", _table(one), *left_out, differing(one.differences)]


def _table(one: Comparison) -> str:
    headings = ["cell", "figure", "first", "second", "ratio", "95 %", "p", "runs"]
    return layout.table(headings, [_row(c) for c in one.contrasts], texts=2)


def _row(c: Contrast) -> list[str]:
    cell = c.cell if c.cell == c.other_cell else f"{c.cell} / {c.other_cell}"
    interval = units.NOTHING if c.low is None or c.high is None else f"{c.low:.3f} to {c.high:.3f}"
    p = (
        units.NOTHING
        if c.p_corrected is None
        else f"{c.p_corrected:.3f}"
        if c.p_corrected >= _LEAST
        else f"<{_LEAST}"
    )
    return [
        cell,
        label(c.figure),
        printed(c.figure, c.first),
        printed(c.figure, c.second),
        f"{c.ratio:.3f}{'*' if c.significant else ''}{'?' if c.suspect else ''}",
        interval,
        p,
        f"{c.runs[0]} and {c.runs[1]}",
    ]


_LEAST = 0.001
