"""Whether the control cell moved by more than its intervals."""

from __future__ import annotations

import pytest

from backends.contract import FailureCause
from orchestrator.domain.cell import Role
from orchestrator.domain.drift import drift, told
from orchestrator.domain.intervals import Bounds
from orchestrator.domain.result import Failure, Phase, Result
from tests.report import made

STEADY = "the control cell did not move: the host was steady"


def control(number: int, rate: float = 100.0, spread: float = 5.0) -> Result:
    """A control whose token rate has that 95 % interval; the TTFT has none."""
    found = made.result(made.cell(), made.load(1, ttft_s=0.1, gap_s=0.05, tokens=10))
    assert found.metrics is not None
    bounds = Bounds(low=rate - spread, high=rate + spread, blocks=20)
    changes = {"tokens_per_s": rate, "tokens_per_s_bounds": bounds}
    no_ttft = found.metrics.ttft_s_bounds.model_copy(update={"mean": None})
    metrics = found.metrics.model_copy(update={**changes, "ttft_s_bounds": no_ttft})
    group = made.group(role=Role.CONTROL, mark=f"control-{number}")
    return found.model_copy(
        update={"cell": made.cell().model_copy(update={"group": group}), "metrics": metrics}
    )


def test_intervals_that_meet_are_no_drift() -> None:
    """However the figures differ."""
    assert () == drift([control(1, 100), control(2, 109), control(3, 91)])
    assert (STEADY,) == told([control(1, 100), control(2, 109)])


def test_an_interval_apart_from_the_first_is_drift() -> None:
    """Told with its size, and with the cell in which it was seen; both ways."""
    found = drift([control(1, 100), control(2, 105), control(3, 80), control(4, 120)])
    assert found is not None

    assert ["control-3-u1", "control-4-u1"] == [m.cell.split("defaults-")[1] for m in found]
    assert pytest.approx([-0.2, 0.2]) == [m.share for m in found]
    assert "the token rate of the control moved by -20.0%" in str(found[0])
    assert str(found[0]).endswith("the host has drifted")


def test_what_cannot_be_believed_proves_nothing() -> None:
    """One figure cannot move, and a failure is none."""
    failure = Failure(phase=Phase.UP, cause=FailureCause.KILLED, message="m")
    dead = control(2).model_copy(update={"metrics": None, "failure": failure})

    assert drift([control(1)]) is None
    assert drift([control(1), dead]) is None
    assert "is not known" in told([control(1), dead])[0]
