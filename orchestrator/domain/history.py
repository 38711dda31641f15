"""From what earlier groups took to what a planned one is going to take. Pure; reads events as they stand in journals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any

from backends.contract import Value
from orchestrator.domain.cell import CellGroup
from orchestrator.domain.plan import PER_CELL_S, UP_S, Estimate, GroupPlan
from orchestrator.domain.result import Phase

NEWEST = 5


class Took(Value):
    """What one earlier group took, in seconds. Only groups that came to their first load have one."""

    group: CellGroup
    prepare_s: float
    per_cell_s: float
    down_s: float


def took(groups: Iterable[CellGroup], events: Iterable[Mapping[str, Any]]) -> tuple[Took, ...]:
    """Of one run, from its journal's `phase-ended` events."""
    found: dict[str, list[tuple[str, float]]] = {}
    for event in events:
        if event.get("event") == "phase-ended" and "group" in event:
            found.setdefault(event["group"], []).append((str(event["phase"]), float(event["took_s"])))
    return tuple(_took(group, found[group.id]) for group in groups if _has_measured(found.get(group.id, ())))


def estimate(plan: GroupPlan, past: Sequence[Took]) -> Estimate | None:
    """The median of the newest groups of the same engine, release, model and place; `past` is newest first."""
    alike = [one for one in past if _place(one.group) == _place(plan.group)][:NEWEST]
    if not alike:
        return None
    return Estimate(
        prepare_s=median(one.prepare_s for one in alike),
        per_cell_s=median(one.per_cell_s for one in alike),
        down_s=median(one.down_s for one in alike),
        groups=len(alike),
    )


def estimates(groups: Iterable[GroupPlan], past: Sequence[Took]) -> tuple[Estimate, ...]:
    """Of every group, in order. One without a history is guessed, with empty caches at the start of the plan: what
    the groups before it have made is there."""
    made: set[object] = set()
    return tuple(estimate(plan, past) or _guessed(plan, made) for plan in groups)


def _guessed(plan: GroupPlan, made: set[object]) -> Estimate:
    prepare_s = UP_S + sum(cost_s for thing, cost_s in plan.makes.items() if thing not in made)
    made.update(plan.makes)
    return Estimate(prepare_s=prepare_s, per_cell_s=PER_CELL_S, down_s=0.0, groups=0)


def _took(group: CellGroup, phases: Sequence[tuple[str, float]]) -> Took:
    measured = [took_s for phase, took_s in phases if _is_measuring(phase)]
    down_s = sum(took_s for phase, took_s in phases if phase == Phase.DOWN.value)
    before_s = sum(took_s for _, took_s in phases) - sum(measured) - down_s
    beyond_s = [max(0.0, took_s - group.workload.length_s) for took_s in measured]
    return Took(group=group, prepare_s=before_s, per_cell_s=max(PER_CELL_S, median(beyond_s)), down_s=down_s)


def _has_measured(phases: Sequence[tuple[str, float]]) -> bool:
    return any(_is_measuring(phase) for phase, _ in phases)


def _is_measuring(phase: str) -> bool:
    return phase.split(" ", maxsplit=1)[0] == Phase.MEASURE.value


def _place(group: CellGroup) -> tuple[object, ...]:
    return (
        group.backend,
        group.release,
        group.model,
        group.accelerator,
        group.gpus,
        group.serving,
        group.runtime,
    )
