"""What ends a phase that hangs: deadlines, and a watch over a load that brings no tokens."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from backends.contract import FailureCause, ReadySpec
from orchestrator.domain import deadlines
from orchestrator.domain.matrix import Budget
from orchestrator.domain.plan import GroupPlan
from orchestrator.domain.result import Phase
from orchestrator.domain.workload import Workload
from orchestrator.errors import CellError
from orchestrator.interrupts import Interrupts
from orchestrator.load.client import Live
from orchestrator.ready import tail


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one group. `log_path` is its engine's log."""

    plan: GroupPlan
    budget: Budget
    interrupts: Interrupts
    log_path: Path

    def within(self, phase: Phase) -> AbstractContextManager[None]:
        """CellError in the block once it has taken too long. Readiness is told its deadline: it knows better what it
        waits for."""
        limits_s = deadlines.deadlines_s(self.plan, self.budget.phase_minutes)
        limit_s = None if phase is Phase.READY else limits_s.get(phase)
        return self.interrupts.within(limit_s, lambda: self._late(phase, limit_s or 0.0))

    def ready(self, spec: ReadySpec) -> ReadySpec:
        """With the night's deadline instead of the adapter's, if it has one."""
        asked = self.budget.phase_minutes.get(Phase.READY)
        return spec if asked is None else spec.model_copy(update={"deadline_s": asked * 60})

    @property
    def silence_s(self) -> float:
        return deadlines.silence_s(self.plan)

    def _late(self, phase: Phase, limit_s: float) -> CellError:
        return CellError(
            f"{phase.value} took longer than its deadline of {limit_s:g} s",
            hint=f"see what it waited for in the last lines; a longer one: phase_minutes.{phase.value} in [budget]",
            cause=FailureCause.DEADLINE,
            log_tail=tail(self.log_path),
        )


@dataclass(slots=True)
class TokenWatch:
    """Hears how a load goes. CellError once none of its users has got a token for so long that every request that
    was under way must have been given up at least once: such an engine lives, and answers nobody."""

    limit_s: float
    last_words: Callable[[], str]
    _heard_s: float = field(default=0.0, init=False)

    def hear(self, live: Live) -> None:
        if live.tokens_per_s > 0 or not live.users:
            self._heard_s = live.elapsed_s
        if live.elapsed_s - self._heard_s > self.limit_s:
            raise CellError(
                f"no token for {live.elapsed_s - self._heard_s:.0f} s, with {live.users} users waiting and "
                f"{live.failed} requests failed so far",
                hint="the engine lives and answers nobody: see its log",
                cause=FailureCause.NO_TOKENS,
                log_tail=self.last_words(),
            )


def no_tokens_s(workload: Workload) -> float:
    """After which every user has thought, asked, and been given up by its request."""
    return 2 * (workload.stall_s + workload.think_s)
