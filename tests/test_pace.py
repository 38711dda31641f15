"""When users start, and how long they pause."""

from __future__ import annotations

import pytest

from orchestrator.pace import backoff_s, start_s


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
