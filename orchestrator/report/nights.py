"""A night's plan -> text: what is measured, in which order, what it costs, what is left out and why. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date

from orchestrator.domain import budget, waivers
from orchestrator.domain.cell import Load, Role
from orchestrator.domain.plan import GroupPlan, Night, Plan
from orchestrator.report.plans import GIGABYTE
from orchestrator.report.units import count


def text(plan: Plan, today: date) -> str:
    """One line a deployment, in the order in which they will run. `plan` prints one of them in full."""
    return "\n".join(_lines(plan, today)) + "\n"


def _lines(plan: Plan, today: date) -> Iterator[str]:
    if plan.night is not None:
        yield from _head(plan.night)
    measured = [g for g in plan.groups if g.group.role is Role.MEASURED]
    cells = sum(len(g.group.loads) for g in measured)
    yield (
        f"{count(len(measured), 'deployment')}, {count(cells, 'cell')}: about {_duration(plan.minutes)}, "
        f"up to {plan.disk_bytes / GIGABYTE:.1f} GB of disk; {_source(plan.groups)}"
    )
    for note in plan.notes:
        yield f"note: {note}"
    yield ""
    yield "order  minutes  deployment and its loads"
    for number, group in enumerate(plan.groups, 1):
        yield f"{number:>5}  {group.minutes:>7.1f}  {group.group.id}: {_loads(group.group.loads)}"
    yield from _left_out(plan)
    if plan.night is not None:
        yield from _rules(plan.night)
    yield from (f"warning: {line}" for line in waivers.lapsed(plan, today))
    if plan.rules.budget.minutes is not None:
        out = budget.forecast(plan.groups, plan.rules.budget.minutes * 60)
        yield from (f"no time for {one.group.id}, worth {one.value}" for one in out)


def _head(night: Night) -> Iterator[str]:
    chosen = f", subset {', '.join(night.subsets)}" if night.subsets else ""
    chosen += ", a selection of it" if night.only else ""
    yield f"{night.title} ({night.name}{chosen}), order by seed {night.seed} (--seed repeats it)"


def _source(groups: Sequence[GroupPlan]) -> str:
    known = sum(group.estimate is not None and group.estimate.groups > 0 for group in groups)
    if not known:
        return "minutes are guessed, with empty caches"
    if known == len(groups):
        return "minutes as earlier runs took them"
    return f"minutes as earlier runs took them for {known} of {len(groups)}, the others guessed with empty caches"


def _loads(loads: Sequence[Load]) -> str:
    return " ".join(load.id for load in loads)


def _left_out(plan: Plan) -> Iterator[str]:
    excluded = plan.night.excluded if plan.night is not None else ()
    if plan.refused or excluded:
        yield ""
    for refused in plan.refused:
        instead = f" (instead: {refused.refusal.alternative})" if refused.refusal.alternative else ""
        yield f"refused: {refused.backend} {refused.release} with {refused.model}: {refused.refusal.reason}{instead}"
    for out in excluded:
        yield f"excluded: {out.point}" + (f": {out.reason}" if out.reason else "")


def _rules(night: Night) -> Iterator[str]:
    rules, limits = night.rules, night.rules.budget
    said = [
        *([f"budget: {_duration(limits.minutes)}"] if limits.minutes else []),
        *([f"disk budget: {limits.disk_gb:g} GB"] if limits.disk_gb else []),
        *(f"deadline of {phase.value}: {_duration(m)}" for phase, m in limits.phase_minutes.items()),
        *(
            f"waived until {w.until}: {', '.join(c.value for c in w.cause) or 'any failure'}: {w.reason}"
            for w in rules.waive
        ),
        *(
            [f"told: {rules.notify.on.value}, by the webhook in {rules.notify.webhook_env}"]
            if rules.notify
            else []
        ),
    ]
    if said:
        yield ""
        yield from said


def _duration(minutes: float) -> str:
    if minutes < 90:  # noqa: PLR2004 - from there on hours are easier to read
        return f"{minutes:.0f} min"
    return f"{minutes / 60:.1f} h"
