"""What a report starts from: stored cells and the run that they belong to. Values only."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

from orchestrator.domain.cell import Cell, Role
from orchestrator.domain.ledger import Ledger
from orchestrator.domain.reruns import Changed
from orchestrator.domain.result import Result


class State(str, Enum):
    """What lies in a cell's folder. Only COMPLETE is a result. LEFT_OUT: the night had no time for it; it is taken when
    the run is gone on with."""

    COMPLETE = "complete"
    UNFINISHED = "unfinished"
    LEFT_OUT = "left out"
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

    def left_out(self, why: str) -> Stored:
        """The same, if nothing has come of it."""
        return replace(self, state=State.LEFT_OUT, reason=why) if self.state is State.UNFINISHED else self


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
    ledger: Ledger | None = None

    @property
    def waived(self) -> dict[str, str]:
        """Cells that failed as it was known that they would, each with the reason."""
        failures = {c.cell_id: c.result.failure for c in self.cells if c.result is not None}
        return {
            name: f.waived.reason for name, f in failures.items() if f is not None and f.waived is not None
        }

    @property
    def left_out(self) -> dict[str, str]:
        """Cells that there was no time for, each with the reason."""
        return {c.cell_id: c.reason for c in self.cells if c.state is State.LEFT_OUT}
