"""Where ramp, steady and drain lie."""

from __future__ import annotations

import dataclasses

import pytest

from orchestrator.domain.exchange import Exchange, Outcome
from orchestrator.domain.metrics import Asked, Metrics, summarise
from orchestrator.domain.windows import SteadyRule
from tests.domain.made import exchange, ns, span


def user(number: int, begin_s: float, end_s: float = 20, *, cut: bool = True) -> list[Exchange]:
    """Requests of a second each from one moment to another; the last one is cut unless said."""
    starts = [begin_s + i for i in range(int(end_s - begin_s))]
    done = [exchange(s, (s + 0.4, s + 0.9), user=number) for s in starts]
    last = exchange(starts[-1] + 1, end_s=end_s, outcome=Outcome.CUT, user=number)
    return [*done, last] if cut else done


def measured(exchanges: list[Exchange], users: int | None, *, think_s: float = 0.0) -> Metrics:
    return summarise(exchanges, span(), window_s=5, asked=Asked(users=users, think_s=think_s))


def bounds(m: Metrics) -> tuple[SteadyRule, float, float, float]:
    return m.steady_rule, m.steady_start_s, m.steady_length_s, m.drain_length_s


def test_steady_is_all_that_follows_the_ramp_when_everybody_is_there() -> None:
    """It never begins before the ramp that was asked for is over, though all users may be."""
    everybody = [x for k in range(4) for x in user(k, k)]

    assert (SteadyRule.USERS_ACTIVE, 10.0, 10.0, 0.0) == bounds(measured(everybody, 4))


def test_steady_waits_for_late_users() -> None:
    """One of four came at 12 s: until then there were too few."""
    late = [x for k in range(4) for x in user(k, 12 if k == 3 else 1)]

    assert (SteadyRule.USERS_ACTIVE, 12.0, 8.0, 0.0) == bounds(measured(late, 4))


def test_one_of_twenty_may_be_missing() -> None:
    """95 % of the users are enough, 90 % are not."""
    nineteen = [x for k in range(19) for x in user(k, 1)]

    assert SteadyRule.USERS_ACTIVE is measured(nineteen, 20).steady_rule
    assert SteadyRule.AFTER_RAMP is measured(nineteen, 21).steady_rule


def test_steady_ends_when_users_stop() -> None:
    """What follows is drain, and the headline is free of it."""
    leaving = [x for k in range(4) for x in user(k, 1, 17, cut=False)]
    m = measured(leaving, 4)

    assert (SteadyRule.USERS_ACTIVE, 10.0, 6.9, 3.1) == bounds(m)
    assert 4 == m.users_gone


def test_a_steady_part_that_is_too_short_is_not_taken() -> None:
    """All users were there for less than half of the time: everything after the ramp counts instead."""
    leaving = [x for k in range(4) for x in user(k, 1, 14, cut=False)]

    assert (SteadyRule.AFTER_RAMP, 10.0, 10.0, 0.0) == bounds(measured(leaving, 4))


def test_the_longest_of_two_stretches_is_taken() -> None:
    """A user died at 12 s and another came in its place at 13 s."""
    exchanges = [*user(0, 1), *user(1, 1, 12, cut=False), *user(2, 13)]

    assert (SteadyRule.USERS_ACTIVE, 13.0, 7.0, 0.0) == bounds(measured(exchanges, 2))


@pytest.mark.parametrize(("think_s", "gone"), [(0.0, 1), (2.0, 0)])
def test_a_user_that_may_be_thinking_at_the_end_has_not_gone(think_s: float, gone: int) -> None:
    """Its last answer ended 2.1 s before the end of measuring."""
    m = measured(user(0, 1, 18, cut=False), 1, think_s=think_s)

    assert gone == m.users_gone


def test_a_user_that_backs_off_has_not_gone() -> None:
    """After a failure it may wait for some seconds."""
    failing = [*user(0, 1, 15, cut=False), exchange(15, end_s=15.5, outcome=Outcome.CONNECT)]

    assert 0 == measured(failing, 1).users_gone


def test_without_the_number_of_users_nobody_is_missed() -> None:
    """Steady is then all that follows the ramp."""
    assert (SteadyRule.AFTER_RAMP, 10.0, 10.0, 0.0) == bounds(measured(user(0, 15), None))


def test_an_open_loop_has_no_users() -> None:
    """Each request may be a user of its own; latencies count from when it was due."""
    late = [
        dataclasses.replace(exchange(s, (s + 0.5,), end_s=s + 1, user=s), scheduled_ns=ns(s - 0.25))
        for s in range(1, 20)
    ]
    m = measured(late, 1)

    assert (SteadyRule.OPEN_LOOP, 10.0, 10.0, 0.0) == bounds(m)
    assert (0.25, 0.75, 1.25) == (m.send_delay_s.mean, m.ttft_s.mean, m.latency_s.mean)
    assert (0.5, 1.0) == (m.ttft_sent_s.mean, m.latency_sent_s.mean)
    assert 0 == m.users_gone


def test_a_closed_loop_has_no_schedule() -> None:
    """The figures from the schedule do not exist there."""
    m = measured(user(0, 1), 1)

    assert (0, 0, 0) == (m.send_delay_s.n, m.ttft_sent_s.n, m.latency_sent_s.n)


def test_windows_tell_who_took_part() -> None:
    """A thinking user takes part, one that has stopped does not."""
    m = measured([*user(0, 0), *user(1, 0, 10, cut=False)], 2)

    assert [2.0, pytest.approx(1.98), 1.0, 1.0] == [w.present_users for w in m.windows]
