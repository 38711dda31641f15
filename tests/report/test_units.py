"""How numbers print."""

from __future__ import annotations

import pytest

from orchestrator.domain.distribution import distribution
from orchestrator.domain.intervals import Bounds
from orchestrator.report import units


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("-", None),
        ("0.000", 0.0),
        ("0.012", 0.0123),
        ("0.999", 0.9994),
        ("1.00", 0.9996),
        ("9.99", 9.994),
        ("10.0", 9.996),
        ("99.9", 99.94),
        ("100", 99.96),
        ("1,234", 1234.4),
        ("-5.00", -5.0),
    ],
)
def test_numbers_have_three_digits_that_matter(text: str, value: float | None) -> None:
    """Rounding never makes a fourth."""
    assert text == units.number(value)


@pytest.mark.parametrize(
    ("text", "value"), [("-", None), ("0.310 s", 0.31), ("119 s", 119.4), ("2 min 05 s", 125.2)]
)
def test_seconds_become_minutes_when_long(text: str, value: float | None) -> None:
    """A reader should not divide by sixty."""
    assert text == units.seconds(value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("-", None),
        ("0 B", 0),
        ("1023 B", 1023),
        ("1.00 KiB", 1024),
        ("412 MiB", 412 * 2**20),
        ("2,048 TiB", 2**51),
    ],
)
def test_bytes_take_binary_units(text: str, value: int | None) -> None:
    """The largest unit is not exceeded, only counted."""
    assert text == units.size(value)


@pytest.mark.parametrize(
    ("text", "share"), [("-", None), ("0 %", 0.0), ("<0.1 %", 0.0002), ("1.7 %", 0.0172), ("100.0 %", 1.0)]
)
def test_a_share_that_happened_never_prints_as_none(text: str, share: float | None) -> None:
    """One failure in ten thousand requests is not 0 %."""
    assert text == units.percent(share)


def test_percentiles_print_in_milliseconds_or_not_at_all() -> None:
    """With 50 samples of 20 ms there is a median and no p95."""
    sample = distribution([0.02] * 50)

    assert "20.0" == units.percentile(sample, 50, units.ms)
    assert "n<130" == units.percentile(sample, 95, units.ms)
    assert "n<11" == units.percentile(distribution([]), 50)


def test_a_percentile_that_failures_reach_is_infinite() -> None:
    """Not unknown, and not left out."""
    sample = distribution([0.02] * 50, failed=40)

    assert "20.0" == units.percentile_with_failures(sample, 50, units.ms)
    assert "n<130" == units.percentile_with_failures(sample, 95, units.ms)
    assert "inf" == units.percentile_with_failures(distribution([], failed=11), 50, units.ms)


def test_intervals_print_both_ends() -> None:
    """In the unit of their figure, or a dash."""
    assert "10.0 to 20.0" == units.bounds(Bounds(low=0.01, high=0.02, blocks=9), units.ms)
    assert "-" == units.bounds(None)


def test_changes_have_a_sign() -> None:
    """Nothing has none, from whichever side it comes."""
    assert ["+1.20", "-35.0", "0.000"] == [units.change(v) for v in (1.2, -35.0, -1e-9)]


def test_counts_agree_with_their_noun() -> None:
    """One is singular, all else is plural."""
    assert ["0 users", "1 user", "2,000 users"] == [units.count(n, "user") for n in (0, 1, 2000)]


def test_ratios_say_how_many_times() -> None:
    """Two digits after the point, or a dash."""
    assert ("1.27x", "-") == (units.ratio(1.2666), units.ratio(None))
