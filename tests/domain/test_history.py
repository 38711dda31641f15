"""From what earlier groups took to minutes."""

from __future__ import annotations

from typing import Any

import pytest

from backends.contract import Accelerator, HostTraits
from orchestrator import planning
from orchestrator.domain.cell import RuntimeKind
from orchestrator.domain.history import Took, estimate, estimates, took
from orchestrator.domain.plan import GroupPlan
from orchestrator.planning import Request
from tests.fakes.backend import FakeBackend

HOST = HostTraits(accelerator=Accelerator.CPU, cpus=2, memory_bytes=2**33)
FAKES = {name: FakeBackend(name) for name in ("one", "two")}


def groups(*names: str, **asked: Any) -> tuple[GroupPlan, ...]:
    request = Request(backends=names, model="tiny", users=(1, 2), **asked)
    return planning.plan(request, FAKES, HOST, RuntimeKind.PROCESS).groups


(ONE,) = groups("one")


def journal(plan: GroupPlan, prepare_s: float, *loads_s: float, down_s: float = 1.0) -> list[dict[str, Any]]:
    phases = [("image", prepare_s / 2), ("ready", prepare_s / 2)]
    phases += [(f"measure u{i}", took_s) for i, took_s in enumerate(loads_s)]
    phases.append(("down", down_s))
    return [
        {"event": "phase-ended", "group": plan.group.id, "phase": phase, "took_s": s} for phase, s in phases
    ]


def test_phases_become_what_a_group_took() -> None:
    """Before the first load, beyond each load's own length, and at the end."""
    length_s = ONE.group.workload.length_s
    (found,) = took([ONE.group], journal(ONE, 40.0, length_s + 5, length_s + 7))

    assert (40.0, 6.0, 1.0) == (found.prepare_s, found.per_cell_s, found.down_s)


def test_a_group_that_came_to_no_load_tells_nothing() -> None:
    """A failure is over sooner than what works."""
    assert () == took([ONE.group], journal(ONE, 40.0))
    assert () == took([ONE.group], [{"event": "run-ended"}, {"event": "phase-ended", "phase": "image"}])


def test_the_newest_five_are_heard() -> None:
    """Their median: one slow night does not decide."""
    past = [Took(group=ONE.group, prepare_s=s, per_cell_s=3, down_s=1) for s in (10, 11, 900, 12, 13, 7000)]
    found = estimate(ONE, past)
    assert found is not None

    assert (12.0, 5) == (found.prepare_s, found.groups)
    planned = ONE.model_copy(update={"estimate": found})
    assert (12 + 2 * (12 + 3) + 1) / 60 == pytest.approx(planned.minutes)


def test_another_engine_says_nothing() -> None:
    """Nor does another place; then it is guessed."""
    (two,) = groups("two")
    past = [Took(group=ONE.group, prepare_s=10, per_cell_s=3, down_s=1)]
    elsewhere = ONE.model_copy(update={"group": ONE.group.model_copy(update={"runtime": RuntimeKind.DOCKER})})

    assert estimate(two, past) is None
    assert estimate(elsewhere, past) is None
    assert [1, 0] == [found.groups for found in estimates([ONE, two], past)]


def test_a_guess_counts_what_is_shared_once() -> None:
    """The second group of an engine finds its image and its weights."""
    (two,) = groups("two")
    built = two.model_copy(update={"image": two.image.model_copy(update={"template": "another"})})
    first, again, other = estimates([ONE, ONE, built], [])

    assert ONE.prepare_s == first.prepare_s
    assert 20.0 == again.prepare_s
    assert pytest.approx(first.prepare_s - 14e6 / 100e6) == other.prepare_s
