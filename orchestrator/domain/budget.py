"""Which deployments a night still has time for. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.domain.cell import Role
from orchestrator.domain.plan import GroupPlan


@dataclass(frozen=True, slots=True)
class Pending:
    """A deployment that has not been run, and how long it is going to take."""

    plan: GroupPlan
    needs_s: float

    @property
    def is_control(self) -> bool:
        return self.plan.group.role is Role.CONTROL


@dataclass(frozen=True, slots=True)
class Choice:
    """What is run next; None: nothing more. `out` are those that there is no time for any more."""

    next: Pending | None
    out: tuple[Pending, ...] = ()


def choose(pending: Sequence[Pending], left_s: float) -> Choice:
    """The first of `pending` (in the plan's order) that is worth its time. One that does not fit now waits: it is run
    after the others if they took less than was thought, and is left out before the control cell closes the night."""
    if not pending:
        return Choice(None)
    fitting = _fitting(pending, left_s)
    first = next((one for one in pending if one in fitting), None)
    if first is None:
        return Choice(None, tuple(pending))
    closes = first is pending[-1] and first.is_control
    return Choice(first, tuple(pending[:-1]) if closes else ())


def forecast(groups: Sequence[GroupPlan], budget_s: float) -> tuple[GroupPlan, ...]:
    """What there will be no time for, if everything takes as long as it is thought to."""
    pending = [Pending(group, group.needs_s(())) for group in groups]
    out: list[Pending] = []
    while pending:
        choice = choose(pending, budget_s)
        out += choice.out
        if choice.next is not None:
            budget_s -= choice.next.needs_s
        pending = [one for one in pending if one is not choice.next and one not in choice.out]
    return tuple(one.plan for one in out)


def _fitting(pending: Sequence[Pending], left_s: float) -> list[Pending]:
    """The closing control cell always; then other control cells, then what is worth most, as far as time goes."""
    closing = pending[-1] if pending[-1].is_control else None
    fitting = [] if closing is None else [closing]
    left_s -= sum(one.needs_s for one in fitting)
    others = [one for one in pending if one is not closing]
    for one in sorted(others, key=lambda one: (not one.is_control, -one.plan.value)):
        if one.needs_s <= left_s:
            fitting.append(one)
            left_s -= one.needs_s
    return fitting
