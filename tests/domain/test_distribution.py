"""Summaries of samples, and what a sample is too small for."""

from __future__ import annotations

from math import comb, inf

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.distribution import MIN_SAMPLES, distribution, needed, weighted


def test_the_sizes_needed_are_mlperfs() -> None:
    """MLPerf asks for 662 samples for p99 at 99 % confidence; the rule gives the others too."""
    assert {50: 11, 95: 130, 99: 662} == MIN_SAMPLES


@pytest.mark.parametrize("q", [50, 90, 95, 99])
def test_the_second_largest_of_enough_samples_bounds_the_percentile(q: int) -> None:
    """With one sample less it would do so in fewer than 99 % of all samples."""

    def missed(n: int) -> float:
        return sum(comb(n, k) * (1 - q / 100) ** k * (q / 100) ** (n - k) for k in (0, 1))

    assert missed(needed(q)) <= 0.01 < missed(needed(q) - 1)


def test_without_failures_both_columns_are_the_same() -> None:
    """There is nothing to add."""
    d = distribution(np.arange(1000.0))

    assert (499.5, 499.5) == (d.p50, d.p50_with_failures)
    assert (0, d.p99) == (d.failed, d.with_failures(99))


def test_failures_are_the_slowest_of_all() -> None:
    """Six failures in a hundred leave the median nearly alone, and p95 is infinite."""
    d = distribution(np.arange(940.0), failed=60)

    assert (469.5, 499.5) == (d.p50, d.p50_with_failures)
    assert d.p95 == pytest.approx(892.05)
    assert d.p95_with_failures is None
    assert (inf, inf) == (d.with_failures(95), d.with_failures(99))


def test_a_percentile_with_failures_needs_its_samples_too() -> None:
    """Failures count as samples; too few of both are no percentile, not an infinite one."""
    assert None is distribution([1.0] * 9, failed=1).with_failures(50)
    assert 1.0 == distribution([1.0] * 9, failed=2).with_failures(50)
    assert inf == distribution([], failed=11).with_failures(50)


@given(st.lists(st.tuples(st.floats(0, 100), st.integers(1, 6)), min_size=1, max_size=200))
def test_weights_are_repetitions(pairs: list[tuple[float, int]]) -> None:
    """A value of weight three stands there three times, but is one sample."""
    values, weights = np.array([v for v, _ in pairs]), np.array([w for _, w in pairs])
    d, all_of_them = weighted(values, weights.astype(float)), np.repeat(values, weights)

    assert len(values) == d.n
    assert d.mean == pytest.approx(all_of_them.mean())
    assert d.p50 is None or d.p50 == pytest.approx(np.percentile(all_of_them, 50))
    assert d.p95 is None or d.p95 == pytest.approx(np.percentile(all_of_them, 95))


def test_nothing_weighs_nothing() -> None:
    """No gap, no figure."""
    assert 0 == weighted(np.empty(0), np.empty(0)).n
