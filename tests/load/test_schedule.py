"""When the bodies of an open loop are due."""

from __future__ import annotations

from array import array
from itertools import pairwise
from typing import Any

import pytest

from orchestrator.domain.cell import loads
from orchestrator.domain.workload import Arrivals, Workload
from orchestrator.load.mix import mix
from orchestrator.load.schedule import asked_per_s, length_s, schedule

OPEN: dict[str, Any] = {"id": "o", "title": "", "ramp_s": 1, "duration_s": 9}
TRACE: dict[str, Any] = {
    **OPEN,
    "arrivals": "trace",
    "prompts": {"source": "trace", "path": "t.jsonl"},
    "sampling": {"ignore_eos": True},
}
PLAIN = mix([b"a", b"b"], (), ())


def workload(**changes: Any) -> Workload:
    return Workload.model_validate({**OPEN, **changes})


def test_a_closed_loop_has_none() -> None:
    """Its users ask when they were answered."""
    closed = workload(users=(1,))

    assert schedule(loads(closed)[0], closed, PLAIN, ()) is None
    assert (10.0, None) == (length_s(closed, None), asked_per_s(None, 1.0, 9.0))


def test_each_rate_has_one_of_its_own() -> None:
    """Over the whole of the load."""
    of = workload(arrivals="constant", rates=(2, 10))
    slow, fast = (schedule(load, of, PLAIN, ()) for load in loads(of))
    assert slow is not None
    assert fast is not None

    assert ("r2", "r10") == tuple(load.id for load in loads(of))
    assert (19, 95) == (len(slow), len(fast))
    assert (2.0, 10.0) == (asked_per_s(slow, 1.0, 9.0), asked_per_s(fast, 1.0, 9.0))


def test_what_was_asked_is_counted_by_the_schedule() -> None:
    """A Poisson load of a few seconds may well have a third less than its rate: that was asked then."""
    assert 1.5 == asked_per_s(array("q", [0, 1_000_000_000, 2_000_000_000, 2_999_999_999]), 1.0, 2.0)
    assert asked_per_s(array("q", [0]), 1.0, 0.0) is None


def test_a_trace_is_replayed_with_its_canaries() -> None:
    """A canary is due together with the request before it, and shifts nothing."""
    of = workload(**TRACE)
    times_s = [i / 10 for i in range(70)]
    mixed = mix([b"x"] * 70, (), [b"c"])
    due = schedule(loads(of)[0], of, mixed, times_s)
    assert due is not None

    assert [30, 61] == [i for i, (a, b) in enumerate(pairwise(due), start=1) if a == b]
    assert 72 == len(due)
    assert [round(t * 1e9) for t in times_s] == list(dict.fromkeys(due))
    assert 6.9 == length_s(of, due)  # it is over before the load would be


def test_a_longer_trace_is_left_at_the_end() -> None:
    """And measuring is as long as was asked for."""
    of = workload(**TRACE)
    due = schedule(loads(of)[0], of, mix([b"x"] * 70, (), ()), [float(i) for i in range(70)])
    assert due is not None

    assert (10, 9.0) == (len(due), length_s(of, due))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, "users, or rates with arrivals"),
        ({"rates": (1,)}, "users, or rates with arrivals"),
        ({"arrivals": "poisson"}, "poisson arrivals need rates"),
        ({"arrivals": "poisson", "rates": (0,)}, "greater than 0"),
        ({"arrivals": "poisson", "rates": (1,), "users": (1,)}, "users are for a closed loop"),
        (
            {"arrivals": "poisson", "rates": (1,), "as_article": True},
            "the article's protocol is a closed loop",
        ),
        ({"arrivals": "trace"}, "need its prompts"),
        (
            {"arrivals": "poisson", "rates": (1,), "prompts": {"source": "sessions", "path": "s"}},
            "wait for each other",
        ),
    ],
)
def test_what_is_no_loop(changes: dict[str, Any], told: str) -> None:
    """Each fault in words."""
    with pytest.raises(ValueError, match=told):
        workload(**changes)


def test_loads_carry_what_may_be_in_flight() -> None:
    """For the client, which opens no more connections."""
    of = workload(arrivals="poisson", rates=(0.5,), max_in_flight=7, system_prompts=("without", "with"))

    assert [("r0.5", 7), ("r0.5-sys", 7)] == [(load.id, load.users) for load in loads(of)]
    assert {Arrivals.POISSON} == {load.arrivals for load in loads(of)}
