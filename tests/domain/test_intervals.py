"""Intervals hold the truth about as often as they say; docs/decisions/0007 has the exact shares."""

from __future__ import annotations

import numpy as np
import pytest

from orchestrator.domain.intervals import dependence, mean_bounds, percentile_bounds, student
from tests.domain.coverage import FIGURES, coverage


@pytest.mark.parametrize(
    ("seed", "phi", "length"), [(1, 0.0, 0.700958), (2, 0.5, 1.830622), (3, 0.8, 7.645672)]
)
def test_block_lengths_are_those_of_the_reference(seed: int, phi: float, length: float) -> None:
    """`arch` 8.0's optimal_block_length gives these for the same series."""
    shocks = np.random.default_rng(seed).standard_normal(100)
    series = shocks.copy()
    for i in range(1, 100):
        series[i] = phi * series[i - 1] + shocks[i]

    assert pytest.approx(length, abs=1e-6) == dependence(series).block


@pytest.mark.parametrize(
    ("freedom", "t"), [(4, 2.7764), (5, 2.5706), (10, 2.2281), (19, 2.0930), (99, 1.9842)]
)
def test_students_t_is_that_of_the_tables(freedom: int, t: float) -> None:
    """Within 0.3 % from four degrees of freedom on."""
    assert pytest.approx(t, rel=0.003) == student(freedom)


@pytest.mark.parametrize("name", ["token rate", "TTFT mean, n = 1000", "TTFT p95, n = 1000"])
def test_intervals_hold_the_truth(name: str) -> None:
    """Of 40 runs some 37 should; fewer than 32 would be no chance."""
    held, stated = coverage(FIGURES[name], 0.5, times=40, seed=7)

    assert held >= 0.8
    assert stated >= 0.8


def test_a_rate_that_never_changes_has_an_interval_of_no_width() -> None:
    """Nothing is made up."""
    bounds = mean_bounds(np.full(100, 5.0), np.ones(100))

    assert bounds is not None
    assert (5.0, 5.0) == (bounds.low, bounds.high)


def test_dependent_slices_make_a_wider_interval() -> None:
    """Four slices in a row of the same height are little more than one."""
    alone = np.random.default_rng(2).standard_normal(100)
    together = np.repeat(alone[:25], 4)
    one, four = (mean_bounds(x, np.ones(100)) for x in (alone, together))

    assert one is not None
    assert four is not None
    assert 1.5 * (one.high - one.low) < four.high - four.low


def test_equal_data_has_equal_intervals() -> None:
    """The draw is seeded: a report can be made again."""
    values, slices = np.random.default_rng(2).random(2000), np.arange(2000) // 20

    assert percentile_bounds(values, slices, 100, 95) == percentile_bounds(values, slices, 100, 95)


def test_independent_values_have_the_interval_of_a_plain_bootstrap() -> None:
    """Of 5,000 values that know nothing of each other, whichever slice they fell into."""
    rng = np.random.default_rng(3)
    values, slices = rng.exponential(1, 5000), rng.integers(0, 100, 5000)
    bounds = percentile_bounds(values, slices, 100, 50)
    draws = [np.median(rng.choice(values, 5000)) for _ in range(400)]

    assert bounds is not None
    assert pytest.approx(np.quantile(draws, [0.025, 0.975]), abs=0.02) == [bounds.low, bounds.high]


def test_a_percentile_whose_interval_would_end_beyond_the_largest_value_has_none() -> None:
    """The tenth part of the slices holds all slow values: ten times fewer pieces of evidence."""
    slow = np.repeat(np.arange(100) < 4, 10)
    values = np.where(slow, 9.0, 1.0) + np.random.default_rng(4).random(1000) / 10

    assert None is percentile_bounds(values, np.arange(1000) // 10, 100, 99)


def test_nothing_has_no_interval() -> None:
    """No value, no width."""
    assert None is mean_bounds(np.zeros(100), np.zeros(100))
    assert None is percentile_bounds(np.empty(0), np.empty(0, np.int64), 100, 50)


@pytest.mark.parametrize(("shift", "sign"), [(0.0, 0), (-1.0, -1)])
def test_an_interval_of_what_is_never_negative_ends_at_zero(shift: float, sign: int) -> None:
    """Widened for few blocks, it would go on below; that of what may be negative does."""
    bounds = mean_bounds(np.array([20.0, *[0.0] * 99]) + shift, np.ones(100))

    assert bounds is not None
    assert sign == np.sign(bounds.low)
