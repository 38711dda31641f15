"""The control cell of a night: whether the host itself was steady. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.domain.cell import Role
from orchestrator.domain.drift import told
from orchestrator.domain.result import Result
from orchestrator.report import layout
from orchestrator.report.figures import TOKEN_RATE, TTFT_MEAN, level
from orchestrator.report.records import Stored

HEADINGS = ("control", "begun", "verdict", TOKEN_RATE.title, TTFT_MEAN.title)
TEXTS = 3


def sections(cells: Sequence[Stored]) -> list[str]:
    """A heading with the answer and a table; nothing where there is no control cell."""
    found = rows(cells)
    return [_heading(words(cells)), layout.table(HEADINGS, found, texts=TEXTS)] if found else []


def words(cells: Sequence[Stored]) -> Sequence[str]:
    """Whether the host itself was steady, in words; nothing where there is no control cell."""
    controls = _controls(cells)
    return told(controls) if controls else []


def rows(cells: Sequence[Stored]) -> list[list[str]]:
    """A row per control cell."""
    return [
        [
            result.cell.group.mark,
            result.started_at,
            "failed" if result.failure else level(result).value,
            TOKEN_RATE.figure(result),
            TTFT_MEAN.figure(result),
        ]
        for result in _controls(cells)
    ]


def _controls(cells: Sequence[Stored]) -> list[Result]:
    return [s.result for s in cells if s.result is not None and s.result.cell.group.role is Role.CONTROL]


def _heading(words: Sequence[str]) -> str:
    first, *others = words
    return "\n\n".join([f"## Control: {first}", *([layout.bullets(others)] if others else [])])
