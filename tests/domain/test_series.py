"""A series says what its newest run is: worse, better, the same, or not to be judged yet."""

from __future__ import annotations

import numpy as np
import pytest

from orchestrator.domain.robust import clipped, location, scale
from orchestrator.domain.series import BASELINE, Judgement, Point, Trend, Watched, compare, judge, levels
from tests.domain.power import alike, ever, normal, points, told

GOOD = (1003, 998, 1011, 994, 1002, 989, 1007, 1000, 996, 1005)


def judged(*values: float, figure: Watched = Watched.TOKEN_RATE) -> Judgement:
    return judge(figure, points(np.array(values)))


def run(*values: float, low: float = 0.995, high: float = 1.005) -> list[Point]:
    return [Point(run=f"{i}", value=v, low=v * low, high=v * high) for i, v in enumerate(values)]


def test_a_slower_night_is_a_regression_with_its_size() -> None:
    """A tenth less than ten nights that differ by half a percent."""
    found = judged(*GOOD, 900)

    assert Trend.REGRESSION is found.trend
    assert pytest.approx(1000.5, abs=1) == found.before
    assert found.change is not None
    assert found.change.low < -0.1 < found.change.high < -0.05
    assert tuple(f"{i}" for i in range(10)) == found.baseline
    assert "10" == found.since


@pytest.mark.parametrize(
    ("figure", "factor", "expected"),
    [
        (Watched.TOKEN_RATE, 1.2, Trend.IMPROVEMENT),
        (Watched.TOKEN_RATE, 0.8, Trend.REGRESSION),
        (Watched.TTFT_MEAN, 1.2, Trend.REGRESSION),
        (Watched.TTFT_MEAN, 0.8, Trend.IMPROVEMENT),
        (Watched.TTFT_P95, 1.2, Trend.REGRESSION),
        (Watched.ITL_MEAN, 1.2, Trend.REGRESSION),
    ],
)
def test_each_figure_has_its_own_direction(figure: Watched, factor: float, expected: Trend) -> None:
    """More tokens are better, more time is worse."""
    assert expected is judged(*GOOD, 1000 * factor, figure=figure).trend


def test_a_change_too_small_to_matter_is_none() -> None:
    """However certain: two and a half percent, of nights that are all alike."""
    found = judged(*[1000.0] * 10, 975.0)

    assert Trend.STEADY is found.trend
    assert found.change is not None
    assert found.change.high < 0


def test_the_same_change_is_none_where_nights_differ_more() -> None:
    """No percentage decides: a tenth less is nothing among nights that differ by a tenth."""
    restless = (1100, 950, 1080, 930, 1050, 920, 1120, 980, 900, 1010)

    assert Trend.STEADY is judged(*restless, 900).trend


@pytest.mark.parametrize("n", [0, 1, BASELINE])
def test_too_few_runs_say_how_many_are_missing(n: int) -> None:
    """A baseline and one to judge."""
    found = judged(*GOOD[:n])

    assert (Trend.NOT_ENOUGH, BASELINE + 1 - n) == (found.trend, found.needed)
    assert Trend.NOT_ENOUGH is not judged(*GOOD[: BASELINE + 1]).trend


def test_one_bad_night_among_the_baseline_hides_nothing() -> None:
    """A mean and a standard deviation would take the change for noise."""
    spoilt = [*GOOD[:5], 500, *GOOD[5:]]

    assert Trend.REGRESSION is judged(*spoilt, 900).trend


def test_one_bad_night_long_ago_is_no_level() -> None:
    """Nor is the night after it an improvement."""
    found = judged(*GOOD, 500, *GOOD)

    assert (Trend.STEADY, ()) == (found.trend, found.shifts)


@pytest.mark.parametrize("wild", [300, 5000])
def test_one_wild_night_hides_no_shift(wild: float) -> None:
    """It would outweigh a level that is a twentieth lower."""
    found = judged(*GOOD[:3], wild, *GOOD[3:], *GOOD[:6], *(0.95 * v for v in GOOD[:7]))

    assert ("17",) == found.shifts


def test_the_third_slow_night_is_not_taken_for_what_is_usual() -> None:
    """Among eight good ones the first two would widen what it is held against."""
    slow = run(*GOOD[:8], 950, 954, 947, low=0.998, high=1.002)
    found = judge(Watched.TOKEN_RATE, slow)

    assert (Trend.REGRESSION, 8) == (found.trend, len(found.baseline))


@pytest.mark.parametrize("nights", [1, 2, 3, 4, 5, 6])
def test_a_regression_stays_one_until_its_level_is_a_baseline(nights: int) -> None:
    """Who looks only on Monday sees it too, with the night in which it began."""
    found = judged(*GOOD, *GOOD[:5], *(v * 0.9 for v in GOOD[:nights]))

    assert Trend.REGRESSION is found.trend
    assert (("15",) if nights >= 3 else ()) == found.shifts
    assert ("15" if nights >= 3 else f"{14 + nights}") == found.since


def test_a_level_that_has_lasted_is_the_new_baseline() -> None:
    """After seven nights it is history; it stands among the shifts."""
    found = judged(*GOOD, *(v * 0.9 for v in GOOD[:7]))

    assert (Trend.STEADY, ("10",)) == (found.trend, found.shifts)


def test_a_night_that_is_back_is_no_regression() -> None:
    """Four slow nights, then as before."""
    found = judged(*GOOD, *GOOD[:5], *(v * 0.9 for v in GOOD[:4]), 1001)

    assert Trend.STEADY is found.trend
    assert found.before is not None
    assert found.before > 990


def test_a_run_whose_own_interval_is_wide_is_believed_less() -> None:
    """A tenth less, of a run that was too short to know it within a fifth."""
    base = run(*GOOD)
    sure = compare(base, [Point(run="x", value=900, low=895, high=905)])
    unsure = compare(base, [Point(run="x", value=900, low=800, high=1010)])

    assert sure.high < 0 < unsure.high
    assert pytest.approx(-0.1, abs=0.002) == unsure.share


def test_runs_that_agree_by_chance_are_not_taken_for_exact() -> None:
    """What their own intervals say is the least that they differ by."""
    same = [1000.0] * 8
    wide, narrow = run(*same, low=0.9, high=1.1), run(*same, low=0.999, high=1.001)

    assert compare(wide, [wide[0]]).low < -0.1
    assert compare(narrow, [narrow[0]]).low > -0.01


def test_shifts_that_do_not_matter_are_left_out() -> None:
    """One percent up and down, and one of a tenth."""
    values = np.log(np.array([*[1000.0] * 10, *[1010.0] * 10, *[900.0] * 10]))

    assert (0, 20) == levels(values, Watched.TOKEN_RATE)


def test_location_and_scale_are_as_defined() -> None:
    """Reckoned by hand from the definitions."""
    values = np.array([0.0, 1.0, 3.0, 7.0, 15.0])

    assert 4.0 == location(values)
    # h = 3, so the third of 1 2 3 4 6 7 8 12 14 15; times 2.2219 and 0.844
    assert pytest.approx(3 * 2.2219 * 0.844) == scale(values)
    assert 0.0 == scale(values[:1])


def test_far_values_are_drawn_in_only_where_something_spreads() -> None:
    """A row of equal values with a few others has no spread to go by."""
    row = np.array([*[5.0] * 8, 50.0])

    assert row.tolist() == clipped(row, 3).tolist()
    spread = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 500.0])
    assert clipped(spread, 3).max() < 30


def test_a_quiet_series_is_seldom_called_worse() -> None:
    """At most 1 night in 100 (docs/history.md has the whole table)."""
    assert told(normal, 0.02, 0.0, after=0, before=12, times=400, seed=11) <= 0.015
    assert told(alike, 0.02, 0.0, after=0, before=12, times=200, seed=11) <= 0.04


def test_two_months_of_quiet_nights_are_seldom_called_worse() -> None:
    """All alarms over 60 nights together; the same night's second run lets hardly any through."""
    told_once, confirmed = ever(normal, 0.02, nights=60, times=20, seed=3)

    assert told_once <= 0.35
    assert confirmed <= 0.1


@pytest.mark.parametrize(
    ("spread", "change", "after", "at_least"),
    [(0.01, -0.05, 1, 0.7), (0.01, -0.1, 1, 0.97), (0.02, -0.1, 3, 0.95), (0.02, -0.2, 1, 0.97)],
)
def test_a_change_is_seen(spread: float, change: float, after: int, at_least: float) -> None:
    """After twelve good nights."""
    assert told(normal, spread, change, after=after, before=12, times=100, seed=12) >= at_least
