"""95 % intervals of figures within one run, by stationary block bootstrap. Pure and seeded.

Neighbouring moments of a run resemble each other, so single requests may not be drawn as if each were new
evidence. The steady window is cut into slices, and blocks of neighbouring slices are drawn, of random length
(Politis and Romano 1994). Their mean length follows the figure's own autocorrelation (Politis and White 2004,
corrected 2009). Drawing blocks forgets what reaches from one into the next, and few blocks say little: the
interval is widened for both. How often it then holds the truth: docs/decisions/0007.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, log10, sqrt

import numpy as np
import numpy.typing as npt
from typing_extensions import Self

from backends.contract import Value

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

LEVEL = 0.95
SLICES = 100
REPLICATES = 1000
SEED = 20240605
# Politis and White's length makes the variance's error least; for an interval that holds the truth as often as
# it says, its bias matters more, so blocks are longer, within bounds that leave enough of them.
BLOCK_FACTOR = 3.0
MIN_BLOCK = 5.0
MIN_BLOCKS = 5.0
MAX_VARIANCE_RATIO = 2.0
_Z = 1.959963984540054  # the normal distribution's 97.5th percentile


class Bounds(Value):
    """A figure's 95 % interval within the run; `blocks` is how many independent pieces the run amounts to."""

    low: float
    high: float
    blocks: float


@dataclass(frozen=True, slots=True)
class Dependence:
    """How a series' mean moves: the best length of blocks, and n times the mean's variance."""

    block: float
    variance: float


def mean_bounds(sums: Floats, counts: Floats) -> Bounds | None:
    """Of sum / count, both given per slice: a rate, or the mean of what fell into the slices."""
    total = counts.sum()
    if total <= 0:
        return None
    value = sums.sum() / total
    draw = _Draw.of(sums - value * counts)
    many = draw.times @ counts
    bounds = draw.bounds(float(value), (draw.times @ sums)[many > 0] / many[many > 0])
    if sums.min() < 0:
        return bounds
    return bounds.model_copy(update={"low": max(bounds.low, 0.0)})  # no mean of such lies below


def percentile_bounds(values: Floats, slices: Ints, count: int, q: int) -> Bounds | None:
    """Of the q-th percentile of values, each of which fell into one of `count` slices.

    The bootstrap tells how far the share of values beyond the percentile moves; the interval ends at the values of
    the ranks that far away (Woodruff 1952). None where that lies beyond the largest value.
    """
    n, beyond = len(values), 1 - q / 100
    if not n:
        return None
    above = np.bincount(slices[values > np.percentile(values, q)], minlength=count)
    draw = _Draw.of(above - beyond * np.bincount(slices, minlength=count))
    independent = sqrt(beyond * (1 - beyond) / n)
    reach = _Z * draw.wider * max(draw.spread / n, independent)
    if reach >= beyond or reach >= 1 - beyond:
        return None
    low, high = np.quantile(values, [1 - beyond - reach, 1 - beyond + reach])
    return Bounds(low=float(low), high=float(high), blocks=draw.blocks)


def dependence(series: Floats) -> Dependence:
    """By Politis and White's flat-top estimate of the spectrum at zero."""
    n = len(series)
    centred = series - series.mean()
    longest = ceil(min(3 * sqrt(n), n / 3))
    reach = max(5, int(log10(n)))
    lags = min(n - 2, ceil(sqrt(n)) + reach)
    covariances = np.array([centred[: n - k] @ centred[k:] / n for k in range(lags + 1)])
    if covariances[0] <= 0:
        return Dependence(1.0, 0.0)
    cut = min(lags, 2 * _silent_from(centred, covariances, reach))
    k = np.arange(1, cut + 1)
    taper = np.minimum(1.0, 2 * (1 - k / cut))
    variance = covariances[0] + 2 * (taper * covariances[1 : cut + 1]).sum()
    slope = 2 * (taper * k * covariances[1 : cut + 1]).sum()
    length = (slope**2 / variance**2) ** (1 / 3) * n ** (1 / 3) if variance > 0 else longest
    return Dependence(float(min(length, longest)), float(max(0.0, variance)))


def student(freedom: float, z: float = _Z) -> float:
    """The 97.5th percentile of Student's t, or the one that is the normal distribution's `z` (Abramowitz and
    Stegun 26.7.5; within 1 % from 4 degrees on)."""
    f = freedom
    return (
        z
        + (z**3 + z) / (4 * f)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * f**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * f**3)
    )


def _silent_from(centred: Floats, covariances: Floats, reach: int) -> int:
    """The first lag from which on `reach` autocorrelations in a row cannot be told from none; the last if there
    is no such lag."""
    n, last = len(centred), len(covariances) - 1
    squares = np.concatenate(([0.0], np.cumsum(centred**2)))
    lags = np.arange(1, last + 1)
    ends = (squares[-1] - squares[lags + 1]) * squares[n - lags - 1]  # as the reference has them
    small = np.abs(covariances[1:]) * n < 2 * sqrt(log10(n) / n) * np.sqrt(ends)
    silent = (lag for lag in range(1, last - reach + 1) if small[lag - 1 : lag - 1 + reach].all())
    return next(silent, last)


@dataclass(frozen=True, slots=True)
class _Draw:
    """Replicates of the steady window: how often each slice stands in each, how far their sums of the series
    spread, and by how much that is too little."""

    times: Floats
    spread: float
    blocks: float
    wider: float

    @classmethod
    def of(cls, influence: Floats) -> Self:
        """`influence` is what each slice adds to the figure's error."""
        n, found = len(influence), dependence(influence)
        block = min(max(MIN_BLOCK, BLOCK_FACTOR * found.block), n / MIN_BLOCKS)
        times = _times(n, block)
        spread = float((times @ influence).std())
        ratio = found.variance * n / spread**2 if spread > 0 else 1.0
        wider = student(n / block - 1) / _Z * sqrt(min(max(1.0, ratio), MAX_VARIANCE_RATIO))
        return cls(times, spread, n / block, wider)

    def bounds(self, value: float, found: Floats) -> Bounds:
        low, high = np.quantile(found, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        return Bounds(
            low=value - (value - low) * self.wider,
            high=value + (high - value) * self.wider,
            blocks=self.blocks,
        )


def _times(n: int, block: float) -> Floats:
    """How often each slice is drawn, one row per replicate. Blocks run on from the last slice to the first."""
    rng = np.random.default_rng(SEED)
    begins = rng.random((REPLICATES, n)) < 1 / block
    begins[:, 0] = True
    at = np.arange(n)
    since = np.maximum.accumulate(np.where(begins, at, 0), axis=1)
    starts = np.take_along_axis(rng.integers(n, size=(REPLICATES, n)), since, axis=1)
    index = (starts + at - since) % n + n * np.arange(REPLICATES)[:, None]
    return np.bincount(index.ravel(), minlength=n * REPLICATES).reshape(REPLICATES, n).astype(float)
