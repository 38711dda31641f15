"""Which deployments a night still has time for."""

from __future__ import annotations

import pytest

from orchestrator.domain.budget import Choice, Pending, choose, forecast
from orchestrator.domain.cell import Role
from orchestrator.domain.plan import Estimate, GroupPlan
from tests.test_matrix import plan, wish


def group(name: str, minutes: float, value: int = 0, role: Role = Role.MEASURED) -> GroupPlan:
    """One that takes so many minutes, of which its only load is none."""
    made = plan(wish()).groups[0]
    cells = made.group.model_copy(update={"mark": name, "role": role, "loads": made.group.loads[:1]})
    estimate = Estimate(prepare_s=minutes * 60 - cells.workload.length_s, per_cell_s=0, down_s=0, groups=1)
    return made.model_copy(update={"group": cells, "value": value, "estimate": estimate})


def pending(*groups: GroupPlan) -> list[Pending]:
    return [Pending(one, one.needs_s(())) for one in groups]


def names(choice: Choice) -> tuple[str | None, list[str]]:
    out = [one.plan.group.mark for one in choice.out]
    return (None if choice.next is None else choice.next.plan.group.mark), out


def control(name: str) -> GroupPlan:
    return group(name, 5, role=Role.CONTROL)


A, B, C = group("a", 30), group("b", 30, value=5), group("c", 30)


@pytest.mark.parametrize(
    ("groups", "left_minutes", "following", "out"),
    [
        ([], 60, None, []),
        ([A, B, C], 90, "a", []),  # all fit: the plan's order holds
        ([A, B, C], 60, "a", []),  # the more valuable one later is not forgotten: both fit
        ([A, B, C], 30, "b", []),  # one fits: the most valuable; the others wait
        ([A, C], 30, "a", []),  # of equals the one that comes first
        ([A, C], 29, None, ["a", "c"]),
        ([group("long", 90, value=9), A], 60, "a", []),  # what does not fit makes room for what does
        ([A, B, control("end")], 40, "b", []),  # the closing control cell has its time
        ([A, B, control("end")], 30, "end", ["a", "b"]),  # before it all else is left out
        ([A, control("end")], -5, "end", ["a"]),  # it is run even when time is over
        ([A, control("mid"), C, control("end")], 10, "mid", []),
        ([A, control("mid"), C, control("end")], 9, "end", ["a", "mid", "c"]),  # but the others only in time
    ],
)
def test_the_lowest_value_is_left_out_first(
    groups: list[GroupPlan], left_minutes: float, following: str | None, out: list[str]
) -> None:
    """In the plan's order, as far as time goes; the closing control cell always."""
    assert (following, out) == names(choose(pending(*groups), left_minutes * 60))


def test_what_did_not_fit_is_run_when_the_others_took_less() -> None:
    """Nothing is left out for good while something else is still to come."""
    groups = pending(A, B, control("end"))
    assert "b" == names(choose(groups, 40 * 60))[0]

    assert ("a", []) == names(choose([groups[0], groups[2]], 36 * 60))


def test_a_plan_foretells_what_it_has_no_time_for() -> None:
    """As if everything took what it is thought to take."""
    groups = (control("start"), A, B, C, control("end"))

    assert () == forecast(groups, 100 * 60)
    assert ["c"] == [one.group.mark for one in forecast(groups, 99 * 60)]
    assert ["a", "c"] == [one.group.mark for one in forecast(groups, 45 * 60)]
    assert () == forecast((), 0)


def test_what_has_ended_needs_no_time() -> None:
    """A group that is gone on with takes what is still to come of it."""
    made = plan(
        wish(axes={"backend": "first", "model": "tiny", "workload": "short", "users": [1, 2]})
    ).groups[0]
    half, every = made.group.cells[:2], made.group.cells

    assert made.minutes * 60 == pytest.approx(made.needs_s(()))
    assert made.prepare_s + made.measure_s / 2 == pytest.approx(made.needs_s({cell.id for cell in half}))
    assert 0.0 == made.needs_s({cell.id for cell in every})
