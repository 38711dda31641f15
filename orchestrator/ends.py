"""How the cells of a group end: measured, failed, not tried, or proven to have been measured before. Each end is
written and journalled at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.basis import Basis
from orchestrator.console import Console
from orchestrator.domain import waivers
from orchestrator.domain.cell import Cell
from orchestrator.domain.exchange import Exchange
from orchestrator.domain.plan import GroupPlan
from orchestrator.domain.result import Failure, Phase, Placed, Result, StepRecord
from orchestrator.domain.telemetry import Sample
from orchestrator.report.records import State
from orchestrator.store.runs import RunFolder, today, utc_now


@dataclass(frozen=True, slots=True)
class Ends:
    """The cells of one group that have ended."""

    plan: GroupPlan
    folder: RunFolder
    log_path: Path
    console: Console
    placed: Placed | None = None
    ended: dict[str, Result] = field(default_factory=dict)

    @property
    def results(self) -> tuple[Result, ...]:
        """In the plan's order."""
        return tuple(self.ended[c.id] for c in self.plan.group.cells if c.id in self.ended)

    @property
    def all_failed(self) -> bool:
        """Whether every cell failed, in this run or before it was gone on with: then there is nothing to bring up,
        and nothing to prove."""
        stored = [self.folder.cell(cell.id).stored() for cell in self.plan.group.cells]
        failed = {
            s.cell_id: s.result for s in stored if s.result is not None and s.result.failure is not None
        }
        if len(failed) < len(stored):
            return False
        self.ended.update(failed)
        return True

    def due(self, basis: Basis) -> tuple[Cell, ...]:
        """The cells that are still to be measured. One that has ended counts if all that it rests on is as it would
        be now; else it is set aside, and told why."""
        return tuple(cell for cell in self.plan.group.cells if self._is_due(cell, basis))

    def _is_due(self, cell: Cell, basis: Basis) -> bool:
        stored = self.folder.cell(cell.id).stored()
        if stored.state is State.UNFINISHED:
            return True
        why = basis.against(cell, stored)
        if stored.result is not None and not why:
            self.ended[cell.id] = stored.result
            self.folder.journal("cell-reused", cell=cell.id, failed=stored.result.failure is not None)
            self.console.say(f"    {cell.load.id}: reused, all that it rests on is as it was")
            return False
        place = self.folder.set_aside(cell.id)
        self.folder.journal("cell-set-aside", cell=cell.id, why=why, place=place.name)
        self.console.say(f"    {cell.load.id}: measured again: {'; '.join(why)}", "yellow")
        return True

    def save(
        self,
        result: Result,
        exchanges: Sequence[Exchange] | None = None,
        samples: Sequence[Sample] | None = None,
    ) -> None:
        told = len(result.notes)
        result = result.model_copy(update={"placed": self.placed})
        result = waivers.applied(result, self.plan.waivers.get(result.cell.load.id, ()), today())
        self.folder.cell(result.cell.id).save(
            result,
            exchanges=exchanges,
            samples=samples,
            dockerfile=self.plan.dockerfile,
            engine_log=self.log_path,
        )
        self.ended[result.cell.id] = result
        self.folder.journal("cell-ended", cell=result.cell.id, **_told(result), waivers=result.notes[told:])
        for note in result.notes[told:]:
            self.console.say(f"    {result.cell.load.id}: {note}", "yellow")

    def fail(
        self,
        failure: Failure,
        *,
        steps: Sequence[StepRecord] = (),
        notes: tuple[str, ...] = (),
        phases_s: dict[Phase, float] | None = None,
    ) -> None:
        """Record the failure for every cell that has no end yet."""
        for cell in self.plan.group.cells:
            if cell.id not in self.ended:
                self.save(
                    Result(
                        cell=cell,
                        started_at=utc_now(),
                        failure=failure,
                        steps=tuple(steps),
                        notes=notes,
                        phases_s=phases_s or {},
                    )
                )


def _told(result: Result) -> dict[str, object]:
    """A cell's end in the journal's words."""
    failure = result.failure
    if failure is None:
        return {"failed": False, "verdict": result.verdict.level.value if result.verdict else None}
    told: dict[str, object] = {"phase": failure.phase.value, "cause": failure.cause.value}
    if failure.waived is not None:
        told |= {"waived": failure.waived.reason, "until": failure.waived.until}
    return {"failed": True, "skipped": failure.skipped, **told}
