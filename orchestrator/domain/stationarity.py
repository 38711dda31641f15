"""Whether the steady window stayed the same: a step or a trend in its windows, and in words. Pure and seeded.

Both are tested by permuting blocks of neighbouring windows, which resemble each other: the trend by Kendall's
rank statistic (Mann 1945), the step by the largest cumulative sum, at the window where it peaks. What is found
must also be large enough to matter. False alarms and misses: docs/decisions/0007.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

import numpy as np
import numpy.typing as npt

from backends.contract import Value
from orchestrator.domain.shifts import orders, share_as_high, shift
from orchestrator.domain.windows import WindowMetrics

Floats = npt.NDArray[np.float64]

MIN_WINDOWS = 30
MAX_WINDOWS = 120
SIGNIFICANT = 0.01
# A window of another length than most (the last) or across a bound of the steady window is left out.
SAME_LENGTH = 0.99
# A step has at least so much of the windows on either side.
MIN_SIDE_SHARE = 0.1


class Figure(str, Enum):
    """What is watched over time."""

    TOKEN_RATE = "tokens_per_s"  # noqa: S105 - a figure's id
    TTFT = "ttft_mean_s"


class Shape(str, Enum):
    """How a figure changed."""

    STEP = "step"
    TREND = "trend"


# How large a change must be to matter, as a share of the level before.
MIN_CHANGE = {Figure.TOKEN_RATE: 0.05, Figure.TTFT: 0.1}


class Drift(Value):
    """One figure that did not stay the same. `at_s` counts from the start of the ramp: the step, or where the
    trend begins; a trend's levels are those of its line at both ends."""

    figure: Figure
    shape: Shape
    at_s: float
    before: float
    after: float
    p: float

    @property
    def worse(self) -> bool:
        return (self.after > self.before) == (self.figure is Figure.TTFT)

    @property
    def text(self) -> str:
        """As a person would say it: `token rate degrades after 180 s: 2,400 -> 1,900 tok/s`."""
        name, unit, scale = _WORDS[self.figure]
        verb = "degrades" if self.worse else "improves"
        when = "after" if self.shape is Shape.STEP else "steadily from"
        before, after = (_number(level * scale) for level in (self.before, self.after))
        return f"{name} {verb} {when} {self.at_s:.0f} s: {before} -> {after} {unit}"


class Stationarity(Value):
    """What the windows of the steady window say; with fewer than `needed` nothing is judged."""

    windows: int
    needed: int = MIN_WINDOWS
    drifts: tuple[Drift, ...] = ()

    @property
    def judged(self) -> bool:
        return self.windows >= self.needed

    @property
    def text(self) -> str:
        if not self.judged:
            return f"not judged: {self.windows} steady windows, {self.needed} are needed"
        found = "; ".join(drift.text for drift in self.drifts)
        return found or f"stationary: no step and no trend in {self.windows} windows"


def stationarity(
    windows: Sequence[WindowMetrics], steady_s: tuple[float, float], window_s: float
) -> Stationarity:
    """Judged on the windows that lie wholly within the steady part."""
    begin_s, end_s = steady_s
    inside = [
        w
        for w in windows
        if w.start_s >= begin_s and w.start_s + w.length_s <= end_s and w.length_s >= SAME_LENGTH * window_s
    ]
    if len(inside) < MIN_WINDOWS:
        return Stationarity(windows=len(inside))
    found = (_drift(figure, inside) for figure in Figure)
    return Stationarity(windows=len(inside), drifts=tuple(d for d in found if d is not None))


def theil_sen(times: Floats, values: Floats) -> tuple[float, float]:
    """Slope and intercept of the line through the medians: of all pairs' slopes, and of what is left."""
    i, j = np.triu_indices(len(values), 1)
    slope = float(np.median((values[j] - values[i]) / (times[j] - times[i])))
    return slope, float(np.median(values - slope * times))


def _drift(figure: Figure, windows: Sequence[WindowMetrics]) -> Drift | None:
    known = [w for w in windows if getattr(w, figure.value) is not None]
    if len(known) < MIN_WINDOWS:
        return None
    times, values = _thinned(
        np.array([w.start_s for w in known]), np.array([getattr(w, figure.value) for w in known])
    )
    # blocks of n^0.4 windows keep what neighbours have in common
    shuffled = values[orders(len(values), round(len(values) ** 0.4))]
    step, trend = _step(figure, times, values, shuffled), _trend(figure, times, values, shuffled)
    fits = [(drift, left) for drift, left in (step, trend) if drift is not None]
    return min(fits, key=lambda fit: fit[1])[0] if fits else None


def _thinned(times: Floats, values: Floats) -> tuple[Floats, Floats]:
    """Neighbours joined, so that an hour is judged at the cost of ten minutes."""
    each = -(-len(values) // MAX_WINDOWS)
    whole = len(values) // each * each
    return times[:whole:each], values[:whole].reshape(-1, each).mean(axis=1)


def _step(figure: Figure, times: Floats, values: Floats, shuffled: Floats) -> tuple[Drift | None, float]:
    """The step, if there is one, and how far the values lie from it."""
    found = shift(values, shuffled, _side(len(values)))
    at = found.at
    before, after = float(values[:at].mean()), float(values[at:].mean())
    left = float(np.abs(values - np.where(np.arange(len(values)) < at, before, after)).sum())
    return _material(figure, Shape.STEP, (float(times[at]), before, after, found.p)), left


def _trend(figure: Figure, times: Floats, values: Floats, shuffled: Floats) -> tuple[Drift | None, float]:
    """The trend, if there is one, and how far the values lie from its line."""
    i, j = np.triu_indices(len(values), 1)
    score = abs(np.sign(values[j] - values[i]).sum())
    chance = share_as_high(float(score), np.abs(np.sign(shuffled[:, j] - shuffled[:, i]).sum(axis=1)))
    slope, intercept = theil_sen(times, values)
    line = intercept + slope * times
    left = float(np.abs(values - line).sum())
    return _material(figure, Shape.TREND, (float(times[0]), float(line[0]), float(line[-1]), chance)), left


def _material(figure: Figure, shape: Shape, found: tuple[float, float, float, float]) -> Drift | None:
    at_s, before, after, p = found
    if p > SIGNIFICANT or abs(after - before) < MIN_CHANGE[figure] * abs(before):
        return None
    return Drift(figure=figure, shape=shape, at_s=at_s, before=before, after=after, p=p)


def _side(n: int) -> int:
    return max(3, round(MIN_SIDE_SHARE * n))


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"  # noqa: PLR2004


_WORDS = {Figure.TOKEN_RATE: ("token rate", "tok/s", 1.0), Figure.TTFT: ("TTFT", "ms", 1e3)}
