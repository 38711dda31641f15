"""What a report starts from: stored cells and the run that they belong to. Values only."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from orchestrator.domain.cell import Cell
from orchestrator.domain.result import Result


class State(str, Enum):
    """What lies in a cell's folder. Only COMPLETE is a result."""

    COMPLETE = "complete"
    UNFINISHED = "unfinished"
    DAMAGED = "damaged"


@dataclass(frozen=True, slots=True)
class Stored:
    """One cell of a run as it was found. `reason` says why it is not complete."""

    cell_id: str
    state: State
    result: Result | None = None
    cell: Cell | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One run as it was found: its plan, its cells in the plan's order, and lost journal lines."""

    id: str
    created_at: str
    plan: dict[str, Any] = field(default_factory=dict)
    cells: tuple[Stored, ...] = ()
    torn_lines: tuple[int, ...] = ()
