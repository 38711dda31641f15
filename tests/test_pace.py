"""When users start, how long they pause, and when the requests of an open loop are due."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from orchestrator.domain.workload import Arrivals
from orchestrator.pace import backoff_s, due_ns, replayed_ns, start_s


@pytest.mark.parametrize(
    ("user", "users", "expected_s"), [(0, 10, 0.0), (1, 10, 2.0), (9, 10, 18.0), (99, 100, 19.8), (0, 1, 0.0)]
)
def test_users_start_evenly_over_the_ramp(user: int, users: int, expected_s: float) -> None:
    """User k of N starts at 20 k / N, as the article's client had it."""
    assert expected_s == pytest.approx(start_s(user, users, 20.0))


@pytest.mark.parametrize(
    ("failures", "expected_s"), [(0, 0.0), (1, 0.1), (2, 0.2), (5, 1.6), (7, 5.0), (99, 5.0)]
)
def test_pauses_double_up_to_a_limit(failures: int, expected_s: float) -> None:
    """Failures in a row lengthen the pause, five seconds being the longest."""
    assert expected_s == pytest.approx(backoff_s(failures))


def test_constant_arrivals_are_evenly_spaced_after_the_ramp() -> None:
    """Half as many come within the ramp, closer and closer; the first at once."""
    due = due_ns(Arrivals.CONSTANT, 4.0, ramp_s=10.0, length_s=20.0, seed="any")
    gaps_s = [(b - a) / 1e9 for a, b in pairwise(due)]

    assert (0, 20, 40) == (due[0], sum(t < 10e9 for t in due), sum(t >= 10e9 for t in due))
    assert [0.25] * 39 == pytest.approx(gaps_s[20:])
    assert gaps_s[:19] == sorted(gaps_s[:19], reverse=True)


def test_poisson_arrivals_are_exponential_and_seeded() -> None:
    """As many as the rate asks for on average, with gaps whose spread is their mean; equal for equal seeds."""
    due = due_ns(Arrivals.POISSON, 50.0, ramp_s=0.1, length_s=400.0, seed="a")
    gaps_s = np.diff(np.array(due)) / 1e9

    assert 20_000 == pytest.approx(len(due), rel=0.03)  # four standard deviations
    assert 0.02 == pytest.approx(gaps_s.mean(), rel=0.03)
    assert 0.02 == pytest.approx(gaps_s.std(), rel=0.05)
    assert np.exp(-1) == pytest.approx((gaps_s > 0.02).mean(), abs=0.015)
    assert due == due_ns(Arrivals.POISSON, 50.0, ramp_s=0.1, length_s=400.0, seed="a")
    assert due != due_ns(Arrivals.POISSON, 50.0, ramp_s=0.1, length_s=400.0, seed="b")


def test_the_pattern_of_a_seed_is_the_same_at_every_rate() -> None:
    """So that two rates differ by nothing else."""
    slow = due_ns(Arrivals.POISSON, 1.0, ramp_s=0.0, length_s=100.0, seed="a")
    fast = due_ns(Arrivals.POISSON, 10.0, ramp_s=0.0, length_s=10.0, seed="a")

    assert list(slow) == pytest.approx([10 * t for t in fast], abs=10)


def test_a_trace_is_kept_to() -> None:
    """From its first request on, up to the end of measuring, or to where it would begin anew."""
    assert [0, 500_000_000, 2_000_000_000] == list(replayed_ns([3.0, 3.5, 5.0, 9.0], None, 5.0))
    assert [0, 1_000_000_000] == list(replayed_ns([3.0, 4.0, 0.0, 1.0], None, 60.0))
    assert [0] == list(replayed_ns([3.0], 5.0, 60.0))


def test_a_trace_is_stretched_to_a_rate() -> None:
    """Its mean becomes the rate; its bursts stay bursts."""
    assert [0, 0, 500_000_000, 1_500_000_000] == list(replayed_ns([0.0, 0.0, 1.0, 3.0], 2.0, 60.0))
