"""Where values lie and how far they spread, so that a few bad nights move neither. Pure."""

from __future__ import annotations

from math import comb

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

# Consistent for the normal distribution, and its corrections for few values (Croux and Rousseeuw 1992, table 1).
_NORMAL = 2.2219
_FEW = {2: 0.399, 3: 0.994, 4: 0.512, 5: 0.844, 6: 0.611, 7: 0.857, 8: 0.669, 9: 0.872}
# The variance of the location beside that of the mean: Hodges and Lehmann's efficiency is 3 / pi.
LOCATION_VARIANCE = 1.047


def location(values: Floats) -> float:
    """The median of all pairs' means (Hodges and Lehmann 1963); a value pairs with itself too."""
    i, j = np.triu_indices(len(values))
    return float(np.median((values[i] + values[j]) / 2))


def scale(values: Floats) -> float:
    """The standard deviation by Qn (Rousseeuw and Croux 1993): about the first quarter of all distances, which
    holds while fewer than half of the values are wild. 0 for fewer than two values."""
    n = len(values)
    if n < 2:  # noqa: PLR2004
        return 0.0
    i, j = np.triu_indices(n, 1)
    half = n // 2 + 1
    distance = np.sort(np.abs(values[i] - values[j]))[comb(half, 2) - 1]
    return float(_NORMAL * _correction(n) * distance)


def clipped(values: Floats, reach: float) -> Floats:
    """Values further than so many deviations away are drawn in to there; all as they are where most are equal."""
    middle, deviation = location(values), scale(values)
    if deviation == 0:
        return values
    drawn: Floats = np.clip(values, middle - reach * deviation, middle + reach * deviation)
    return drawn


def _correction(n: int) -> float:
    if n in _FEW:
        return _FEW[n]
    return n / (n + 1.4) if n % 2 else n / (n + 3.8)
