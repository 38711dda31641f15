"""One figure over many runs: whether the newest is worse, better or the same. Pure and seeded.

A series is judged on logarithms, so that changes are ratios. Its level shifts are looked for over all of it
(shifts.py, with far values drawn in, so that one bad night is no shift); the newest run is held against the runs since the last
of them. How often that is wrong, and what it sees: docs/history.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise
from math import exp, log, sqrt

import numpy as np
import numpy.typing as npt

from backends.contract import Value
from orchestrator.domain.intervals import student
from orchestrator.domain.robust import LOCATION_VARIANCE, clipped, location, scale
from orchestrator.domain.shifts import orders, shift

Floats = npt.NDArray[np.float64]

BASELINE = 6  # runs that the newest is held against, at least
SIDE = 3  # runs on either side of a shift, at least
CLIP = 3.0  # deviations beyond which a value says no more about a shift
SIGNIFICANT = 0.01  # of a shift, and of the newest run; both directions together
_Z95 = 1.959963984540054
_Z = 2.5758293035489004  # the normal distribution's 99.5th percentile
# Qn knows less than a standard deviation of as many values; measured: tests/domain/power.py
SCALE_EFFICIENCY = 0.6


class Watched(str, Enum):
    """A figure whose history is judged."""

    TOKEN_RATE = "tokens_per_s"  # noqa: S105 - a figure's id
    TTFT_MEAN = "ttft_mean_s"
    TTFT_P95 = "ttft_p95_s"
    ITL_MEAN = "itl_mean_s"

    @property
    def more_is_better(self) -> bool:
        return self is Watched.TOKEN_RATE

    @property
    def least_change(self) -> float:
        """What a change must come to at least to matter, as a share. No alarm follows from it alone."""
        return _LEAST[self]


_LEAST = {
    Watched.TOKEN_RATE: 0.03,
    Watched.TTFT_MEAN: 0.05,
    Watched.TTFT_P95: 0.1,
    Watched.ITL_MEAN: 0.03,
}


class Trend(str, Enum):
    """What a series says of its newest run."""

    REGRESSION = "regression"
    IMPROVEMENT = "improvement"
    STEADY = "steady"
    NOT_ENOUGH = "not-enough"
    NOT_COMPARABLE = "not-comparable"

    @property
    def is_news(self) -> bool:
        """Whether something has changed."""
        return self in (Trend.REGRESSION, Trend.IMPROVEMENT)


class Point(Value):
    """A figure of one run, with its 95 % interval within the run where it has one."""

    run: str
    value: float
    low: float | None = None
    high: float | None = None

    @property
    def error(self) -> float:
        """Of the logarithm, as a standard deviation; 0 where nothing is known."""
        if self.low is None or self.high is None or self.low <= 0:
            return 0.0
        return log(self.high / self.low) / 2 / _Z95


class Change(Value):
    """The newest level against the one before, as a share of that: -0.1 is a tenth less. `low` to `high` is its
    99 % interval."""

    share: float
    low: float
    high: float


class Judgement(Value):
    """What became of one figure. `baseline` are the runs that the newest was held against, oldest first, `since`
    the first run of the new level; `shifts` the first runs of every level but the first. `needed` says how many
    more runs a judgement takes."""

    figure: Watched
    trend: Trend
    newest: Point | None = None
    before: float | None = None
    change: Change | None = None
    baseline: tuple[str, ...] = ()
    since: str | None = None
    shifts: tuple[str, ...] = ()
    needed: int = 0


@dataclass(frozen=True, slots=True)
class _Compared:
    """Which values are held against which."""

    base: slice
    new: slice
    shifted: bool = False


def judge(figure: Watched, points: Sequence[Point]) -> Judgement:
    """Oldest first; the last one is judged."""
    if len(points) <= BASELINE:
        needed = BASELINE + 1 - len(points)
        return Judgement(figure=figure, trend=Trend.NOT_ENOUGH, newest=_last(points), needed=needed)
    values = np.array([log(point.value) for point in points])
    begins = levels(values, figure)
    what = _compared(values, begins)
    told = {"figure": figure, "newest": points[-1], "shifts": tuple(points[i].run for i in begins[1:])}
    base = points[what.base] if what.shifted else _calm(points[what.base])
    if len(base) < BASELINE and not what.shifted:
        return Judgement(**told, trend=Trend.NOT_ENOUGH, needed=BASELINE - len(base))
    found = compare(base, points[what.new])
    trend = _trend(figure, found, shifted=what.shifted)
    return Judgement(
        **told,
        trend=trend,
        before=exp(location(_logs(base))),
        change=found,
        baseline=tuple(point.run for point in base),
        since=None if trend is Trend.STEADY else points[what.new][0].run,
    )


def compare(base: Sequence[Point], new: Sequence[Point]) -> Change:
    """By how much `new` differs from `base`, and how sure that is.

    A run's error is made of what moves from run to run and of what moves within: the spread of the base holds
    both, but is never taken for less than the runs' own intervals say; a new run whose interval is wider than
    theirs is believed less.
    """
    old_values, new_values = _logs(base), _logs(new)
    shift_by = location(new_values) - location(old_values)
    residuals = [old_values - location(old_values)]
    if len(new) >= SIDE:
        residuals.append(new_values - location(new_values))
    of = np.concatenate(residuals)
    usual, own = _within(base), _within(new)
    variance = max(scale(of) ** 2, usual)
    # one run is no median of several: it has its own error whole
    new_share = 1.0 if len(new) == 1 else LOCATION_VARIANCE / len(new)
    error = sqrt(variance * (new_share + LOCATION_VARIANCE / len(base)) + max(0.0, own - usual) / len(new))
    reach = error * student(SCALE_EFFICIENCY * (len(of) - len(residuals)), _Z)
    return Change(share=exp(shift_by) - 1, low=exp(shift_by - reach) - 1, high=exp(shift_by + reach) - 1)


def levels(values: Floats, figure: Watched) -> tuple[int, ...]:
    """Where each level begins, 0 first; only shifts that matter."""
    found = [0, *_split(values, 0)]
    while len(found) > 1:
        edges = [*found, len(values)]
        at = [location(values[a:b]) for a, b in pairwise(edges)]
        sizes = [abs(exp(b - a) - 1) for a, b in pairwise(at)]
        least = int(np.argmin(sizes))
        if sizes[least] >= figure.least_change:
            break
        del found[least + 1]
    return tuple(found)


def _split(values: Floats, offset: int) -> list[int]:
    """Binary segmentation: the likeliest shift, then those on either side of it."""
    n = len(values)
    if n < 2 * SIDE:
        return []
    near = clipped(values, CLIP)
    found = shift(near, near[orders(n, 1)], SIDE)
    if found.p > SIGNIFICANT:
        return []
    left, right = values[: found.at], values[found.at :]
    return [*_split(left, offset), offset + found.at, *_split(right, offset + found.at)]


def _compared(values: Floats, begins: Sequence[int]) -> _Compared:
    """The newest run against its level; while that has too few runs to be one, the whole of it against the level
    before, unless the newest run is back there."""
    n, last = len(values), begins[-1]
    if last == 0 or n - last > BASELINE:
        return _Compared(slice(last, n - 1), slice(n - 1, n))
    before = slice(begins[-2], last)
    old, new = location(values[before]), location(values[last:])
    if abs(values[-1] - new) <= abs(values[-1] - old):
        return _Compared(before, slice(last, n), shifted=True)
    return _Compared(before, slice(n - 1, n))


def _calm(points: Sequence[Point]) -> Sequence[Point]:
    """Without those of the last few that stood apart when they were new: of a change that has just begun, too
    few runs are there to be told as a shift, and they must not widen what it is held against."""
    begin = max(BASELINE, len(points) - BASELINE)
    calm = list(points[:begin])
    for point in points[begin:]:
        if not _certain(compare(calm, [point])):
            calm.append(point)
    return calm


def _trend(figure: Watched, found: Change, *, shifted: bool) -> Trend:
    """A shift has been tested for already; a single run must lie beyond what runs do by themselves."""
    if not (shifted or _certain(found)) or abs(found.share) < figure.least_change:
        return Trend.STEADY
    return Trend.IMPROVEMENT if (found.share > 0) is figure.more_is_better else Trend.REGRESSION


def _certain(found: Change) -> bool:
    return found.low > 0 or found.high < 0


def _within(points: Sequence[Point]) -> float:
    """The variance of a run's own figure, as most runs have it."""
    return float(np.median([point.error for point in points])) ** 2


def _logs(points: Sequence[Point]) -> Floats:
    return np.array([log(point.value) for point in points])


def _last(points: Sequence[Point]) -> Point | None:
    return points[-1] if points else None
