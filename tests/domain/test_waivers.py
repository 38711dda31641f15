"""A known failure is waived until its day; what has changed about it is told."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from backends.contract import FailureCause
from orchestrator.domain.matrix import Waiver
from orchestrator.domain.reasons import Level
from orchestrator.domain.result import Failure, Phase, Result, Waived
from orchestrator.domain.verdict import Verdict
from orchestrator.domain.waivers import applied, lapsed
from tests.report import made
from tests.test_matrix import plan, wish

DAY = date(2027, 1, 31)


def waiver(until: date = DAY, *, reason: str = "one card is too small", **fields: Any) -> Waiver:
    return Waiver(reason=reason, until=until, **fields)


def failed(cause: FailureCause = FailureCause.MEMORY_KV_CACHE) -> Result:
    failure = Failure(phase=Phase.READY, cause=cause, message="died")
    return Result(cell=made.cell("vllm", 1), started_at="2026-11-23T04:31:00Z", failure=failure, notes=("n",))


def waived(result: Result) -> Waived | None:
    assert result.failure is not None
    return result.failure.waived


@pytest.mark.parametrize(
    ("waivers", "today", "reason", "notes"),
    [
        ([], DAY, None, ()),
        ([waiver()], DAY, "one card is too small", ()),  # the day itself counts
        ([waiver(cause=["memory-kv-cache", "hung"])], DAY, "one card is too small", ()),
        ([waiver(cause="hung")], DAY, None, ()),  # another failure than the one that is known
        ([waiver()], date(2027, 2, 1), None, ("waiver ran out on 2027-01-31: one card is too small",)),
        ([waiver(date(2026, 1, 1)), waiver(reason="newer")], DAY, "newer", ()),  # one that holds is enough
        ([waiver(date(2026, 1, 1), cause="hung")], DAY, None, ()),  # it would not have covered it anyway
    ],
)
def test_a_failure_is_waived_by_cause_and_day(
    waivers: list[Waiver], today: date, reason: str | None, notes: tuple[str, ...]
) -> None:
    """Its reason goes with it; one that ran out is told."""
    result = applied(failed(), waivers, today)
    found = waived(result)

    assert reason == (None if found is None else found.reason)
    assert ("n", *notes) == result.notes
    assert not result.is_sound


def test_a_waiver_that_is_no_longer_needed_is_told() -> None:
    """By a cell that came to sound figures; an invalid one proves nothing."""
    sound = made.result(made.cell(), made.load(1, ttft_s=0.05, gap_s=0.01, tokens=40))
    invalid = sound.model_copy(update={"verdict": Verdict(level=Level.INVALID)})
    (note,) = applied(sound, [waiver()], DAY).notes[len(sound.notes) :]

    assert note == "waiver no longer needed, it came to figures (was waived: one card is too small)"
    assert invalid == applied(invalid, [waiver()], DAY)
    assert sound == applied(sound, [], DAY)


def test_a_plan_tells_what_has_run_out() -> None:
    """Before the night; a waiver that holds is no news."""
    cell = {"backend": "first", "reason": "old", "until": "2026-01-01"}
    asked = plan(wish(waive=[cell, {**cell, "reason": "new", "until": "2030-01-01"}]))

    assert ("waiver ran out on 2026-01-01: old",) == lapsed(asked, DAY)
