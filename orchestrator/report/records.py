"""What a report starts from: stored cells and the run that they belong to. Values only."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from orchestrator.domain.cell import Cell, Role
from orchestrator.domain.reruns import Changed
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

    @property
    def is_rerun(self) -> bool:
        """Whether it was measured to confirm a change alone: it is none of the cells that were asked for."""
        return self.cell is not None and self.cell.group.role is Role.CONFIRM


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One run as it was found: its plan, its cells in the plan's order, and lost journal lines. `changes` are what it
    found to have changed since earlier runs, `reruns` the cells that were measured again for that."""

    id: str
    created_at: str
    plan: dict[str, Any] = field(default_factory=dict)
    cells: tuple[Stored, ...] = ()
    torn_lines: tuple[int, ...] = ()
    changes: tuple[Changed, ...] = ()
    reruns: tuple[Stored, ...] = ()
