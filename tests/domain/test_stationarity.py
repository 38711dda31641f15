"""Steps and trends are seen and told; noise is not."""

from __future__ import annotations

from time import process_time

import numpy as np
import pytest

from orchestrator.domain.stationarity import Figure, Stationarity, stationarity, theil_sen
from orchestrator.domain.windows import WindowMetrics
from tests.domain.coverage import SHAPES, alarms, line

NOISE = np.random.default_rng(1).normal(0, 40, 56)


def judged(windows: tuple[WindowMetrics, ...]) -> Stationarity:
    return stationarity(windows, (20.0, windows[-1].start_s + 5), 5.0)


def test_a_step_is_told_with_its_moment_and_both_levels() -> None:
    """An engine that loses a fifth of its speed after three minutes."""
    found = judged(line(np.where(np.arange(56) < 32, 2400, 1900) + NOISE))

    assert "token rate degrades after 180 s: 2,399 -> 1,898 tok/s" == found.text


def test_a_trend_is_told_with_both_ends() -> None:
    """An engine that gets slower all the time."""
    found = judged(line(np.linspace(2400, 1900, 56) + NOISE))

    assert "token rate degrades steadily from 20 s: 2,408 -> 1,894 tok/s" == found.text


def test_a_rate_that_rises_improves() -> None:
    """An engine that warms up in the measured window is not stationary either."""
    found = judged(line(np.where(np.arange(56) < 20, 1900, 2400) + NOISE))

    assert found.text.startswith("token rate improves after 120 s")
    assert not found.drifts[0].worse


def test_a_growing_ttft_degrades() -> None:
    """More is worse there, and it prints in milliseconds."""
    windows = line(np.full(56, 2400.0))
    slow = tuple(w.model_copy(update={"ttft_mean_s": 0.1 if i < 28 else 0.15}) for i, w in enumerate(windows))

    assert "TTFT degrades after 160 s: 100 -> 150 ms" == judged(slow).text


def test_windows_without_a_first_token_are_left_out_of_ttft() -> None:
    """With too few of them left TTFT is not judged, the rate still is."""
    windows = line(np.where(np.arange(56) < 32, 2400, 1900) + NOISE)
    rare = tuple(w.model_copy(update={"ttft_mean_s": None}) for w in windows)

    assert [Figure.TOKEN_RATE] == [d.figure for d in judged(rare).drifts]


@pytest.mark.parametrize("change", [0.0, 0.04])
def test_a_change_too_small_to_matter_is_none(change: float) -> None:
    """However certain it is."""
    found = judged(line(2400 * np.where(np.arange(56) < 28, 1, 1 - change)))

    assert "stationary: no step and no trend in 56 windows" == found.text


def test_few_windows_are_not_judged() -> None:
    """And that is said, with the number needed."""
    found = judged(line(np.full(29, 2400.0)))

    assert (False, "not judged: 29 steady windows, 30 are needed") == (found.judged, found.text)


def test_only_whole_windows_within_the_steady_part_are_judged() -> None:
    """Those across its bounds and a short last one are left out."""
    windows = line(np.full(40, 2400.0))
    short = windows[-1].model_copy(update={"length_s": 3.0})

    assert 37 == stationarity((*windows[:-1], short), (21.0, 20 + 39 * 5.0 - 1), 5.0).windows


def test_noise_is_seldom_taken_for_a_drift() -> None:
    """Neighbours that correlate by 0.5 and spread by 5 %: fewer than one run in ten."""
    assert alarms(SHAPES["nothing"], 0.5, noise=0.05, windows=56, times=60, seed=5) <= 0.1


@pytest.mark.parametrize("name", [name for name in SHAPES if name != "nothing"])
def test_a_change_of_a_tenth_is_seen(name: str) -> None:
    """At a spread of 2 % nearly always."""
    assert alarms(SHAPES[name], 0.3, noise=0.02, windows=56, times=20, seed=5) >= 0.9


def test_the_slope_is_that_of_the_reference() -> None:
    """scipy 1.17's theilslopes (joint) gives these."""
    rng = np.random.default_rng(4)
    times = np.arange(40) * 5.0
    values = 100 - 0.3 * times + rng.standard_normal(40) * 5
    slope, intercept = theil_sen(times.astype(np.float64), values)

    assert pytest.approx([-0.3035394778830156, 99.95960855318614]) == [slope, intercept]


def test_an_hour_is_judged_quickly() -> None:
    """Neighbouring windows are joined first; it takes about a fifth of this."""
    windows = line(np.where(np.arange(720) < 360, 2400.0, 1900.0))
    begin = process_time()
    found = judged(windows)

    assert process_time() - begin < 1
    assert "token rate degrades after 1820 s: 2,400 -> 1,900 tok/s" == found.text
