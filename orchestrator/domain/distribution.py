"""A sample's summary, and from how many samples on a percentile may be stated. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, comb

import numpy as np
import numpy.typing as npt

from backends.contract import Value

Floats = npt.NDArray[np.float64]

CONFIDENCE = 0.99
PERCENTILES = (50, 95, 99)


def needed(q: int) -> int:
    """The smallest n from which the second largest of n samples lies at or above the q-th percentile with 99 %
    confidence, whatever the distribution: MLPerf's early-stopping rule with one sample to spare."""
    n, beyond = 2, 1 - q / 100
    while sum(comb(n, k) * beyond**k * (q / 100) ** (n - k) for k in (0, 1)) > 1 - CONFIDENCE:
        n += 1
    return n


# A percentile is printed only where n supports it.
MIN_SAMPLES = {q: needed(q) for q in PERCENTILES}


class Distribution(Value):
    """A sample's summary, in the unit of its name. A percentile is None where n is too small for it.

    The `*_with_failures` percentiles count the `failed` requests as infinite; one is None where n + failed is too small,
    or where it is infinite.
    """

    n: int
    mean: float | None = None
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None
    max: float | None = None
    failed: int = 0
    p50_with_failures: float | None = None
    p95_with_failures: float | None = None
    p99_with_failures: float | None = None

    def percentile(self, q: int) -> float | None:
        return {50: self.p50, 95: self.p95, 99: self.p99}[q]

    def with_failures(self, q: int) -> float | None:
        """With failures as infinite: `inf` where the failures reach down to it, None where n is too small."""
        if self.n + self.failed < MIN_SAMPLES[q]:
            return None
        value = {50: self.p50_with_failures, 95: self.p95_with_failures, 99: self.p99_with_failures}[q]
        return float("inf") if value is None else value


def distribution(values: Sequence[float] | Floats, *, failed: int = 0) -> Distribution:
    """Mean, maximum and those percentiles which the sample is large enough for."""
    array = np.asarray(values, dtype=float)
    if not len(array):
        return Distribution(n=0, failed=failed)
    shown = _percentiles(array, 0)
    with_failures = _percentiles(array, failed) if failed else shown
    return Distribution(
        n=len(array),
        mean=float(array.mean()),
        **{f"p{q}": value for q, value in shown.items()},
        max=float(array.max()),
        failed=failed,
        **{f"p{q}_with_failures": value for q, value in with_failures.items()},
    )


def weighted(values: Floats, weights: Floats) -> Distribution:
    """As if each value stood there `weight` times (1 at least). `n` stays the number of values: saying one thing
    ten times is no more evidence."""
    if not len(values):
        return Distribution(n=0)
    order = np.argsort(values)
    ordered, each = values[order], np.maximum(weights[order], 1.0)
    ends = np.cumsum(each)
    knots = np.column_stack((ends - each, ends - 1)).ravel()
    found = np.interp([q / 100 * (ends[-1] - 1) for q in PERCENTILES], knots, np.repeat(ordered, 2))
    shown = {
        f"p{q}": float(v) for q, v in zip(PERCENTILES, found, strict=True) if len(values) >= MIN_SAMPLES[q]
    }
    return Distribution(
        n=len(values),
        mean=float((ordered * each).sum() / ends[-1]),
        max=float(ordered[-1]),
        **shown,
        **{f"{name}_with_failures": value for name, value in shown.items()},
    )


def _percentiles(array: Floats, failed: int) -> dict[int, float]:
    """Linear between neighbours; only where n is large enough and no failure is one of the two neighbours."""
    n = len(array)
    last = n + failed - 1
    stated = [q for q in PERCENTILES if last + 1 >= MIN_SAMPLES[q] and ceil(q / 100 * last) < n]
    at = [q / 100 * last / max(1, n - 1) if failed else q / 100 for q in stated]
    return dict(zip(stated, np.quantile(array, at).tolist(), strict=True))
