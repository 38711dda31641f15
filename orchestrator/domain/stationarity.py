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
from orchestrator.domain.windows import WindowMetrics

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

MIN_WINDOWS = 30
MAX_WINDOWS = 120
SIGNIFICANT = 0.01
PERMUTATIONS = 499
SEED = 20240605
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
    shuffled = values[_permutations(len(values))]
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
    scores = _step_scores(values[None])[0]
    at = int(np.argmax(scores)) + _side(len(values))
    p = _p(float(scores.max()), _step_scores(shuffled).max(axis=1))
    before, after = float(values[:at].mean()), float(values[at:].mean())
    left = float(np.abs(values - np.where(np.arange(len(values)) < at, before, after)).sum())
    return _material(figure, Shape.STEP, (float(times[at]), before, after, p)), left


def _trend(figure: Figure, times: Floats, values: Floats, shuffled: Floats) -> tuple[Drift | None, float]:
    """The trend, if there is one, and how far the values lie from its line."""
    i, j = np.triu_indices(len(values), 1)
    score = abs(np.sign(values[j] - values[i]).sum())
    p = _p(float(score), np.abs(np.sign(shuffled[:, j] - shuffled[:, i]).sum(axis=1)))
    slope, intercept = theil_sen(times, values)
    line = intercept + slope * times
    left = float(np.abs(values - line).sum())
    return _material(figure, Shape.TREND, (float(times[0]), float(line[0]), float(line[-1]), p)), left


def _material(figure: Figure, shape: Shape, found: tuple[float, float, float, float]) -> Drift | None:
    at_s, before, after, p = found
    if p > SIGNIFICANT or abs(after - before) < MIN_CHANGE[figure] * abs(before):
        return None
    return Drift(figure=figure, shape=shape, at_s=at_s, before=before, after=after, p=p)


def _step_scores(rows: Floats) -> Floats:
    """Per row, how unlike its mean is on both sides of each possible step."""
    n = rows.shape[1]
    at = np.arange(_side(n), n - _side(n) + 1)
    reached = np.cumsum(rows - rows.mean(axis=1, keepdims=True), axis=1)[:, at - 1]
    scores: Floats = np.abs(reached) * np.sqrt(n / (at * (n - at)))
    return scores


def _side(n: int) -> int:
    return max(3, round(MIN_SIDE_SHARE * n))


def _permutations(n: int) -> Ints:
    """Rows of indices: blocks of n^0.4 neighbours in any order, cut at a random place."""
    rng = np.random.default_rng(SEED)
    length = round(n**0.4)
    block = np.minimum(np.arange(n) // length, n // length - 1)
    order = np.argsort(rng.random((PERMUTATIONS, n // length))[:, block], axis=1, kind="stable")
    rows: Ints = (order + rng.integers(n, size=(PERMUTATIONS, 1))) % n
    return rows


def _p(score: float, scores: Floats) -> float:
    return float((1 + (scores >= score * (1 - 1e-12)).sum()) / (1 + len(scores)))


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"  # noqa: PLR2004


_WORDS = {Figure.TOKEN_RATE: ("token rate", "tok/s", 1.0), Figure.TTFT: ("TTFT", "ms", 1e3)}
