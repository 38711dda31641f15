"""A cell's end as its waivers have it: a known failure is waived until its day, and what has changed is told. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date

from orchestrator.domain.matrix import Waiver
from orchestrator.domain.plan import Plan
from orchestrator.domain.result import Result, Waived


def applied(result: Result, waivers: Sequence[Waiver], today: date) -> Result:
    """The same, with its failure waived where one of the waivers covers it, and a note where a waiver is no longer
    what it was."""
    if result.failure is None:
        return _with_notes(result, _not_needed(waivers) if result.is_sound else ())
    covering = [waiver for waiver in waivers if waiver.covers(result.failure.cause)]
    valid = [waiver for waiver in covering if not waiver.ran_out(today)]
    if not valid:
        return _with_notes(result, [_ran_out(waiver) for waiver in covering])
    last = max(valid, key=lambda waiver: waiver.until)
    failure = result.failure.model_copy(update={"waived": Waived(reason=last.reason, until=last.until)})
    return result.model_copy(update={"failure": failure})


def lapsed(plan: Plan, today: date) -> tuple[str, ...]:
    """A line for each waiver of the plan's matrix that has run out."""
    return tuple(_ran_out(waiver) for waiver in plan.rules.waive if waiver.ran_out(today))


def _with_notes(result: Result, notes: Iterable[str]) -> Result:
    return result.model_copy(update={"notes": (*result.notes, *notes)})


def _not_needed(waivers: Sequence[Waiver]) -> list[str]:
    return [
        f"waiver no longer needed, it came to figures (was waived: {waiver.reason})" for waiver in waivers
    ]


def _ran_out(waiver: Waiver) -> str:
    return f"waiver ran out on {waiver.until}: {waiver.reason}"
