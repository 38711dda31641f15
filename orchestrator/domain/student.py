"""Student's t distribution, for any degrees of freedom above 0. Pure."""

from __future__ import annotations

from functools import lru_cache
from math import exp, inf, isinf, lgamma, log, log1p

ENOUGH = 1e-15
TERMS = 500
_TINY = 1e-300


def below(t: float, freedom: float) -> float:
    """The probability of a value of at most `t`."""
    if isinf(t):
        return 0.0 if t < 0 else 1.0
    tail = _incomplete_beta(freedom / (freedom + t * t), freedom / 2, 0.5) / 2
    return tail if t < 0 else 1 - tail


def above(t: float, freedom: float) -> float:
    """The probability of a value above `t`, exact also where it is tiny."""
    return below(-t, freedom)


@lru_cache(maxsize=4096)
def quantile(p: float, freedom: float) -> float:
    """The value below which a share `p` of the distribution lies; 0 < p < 1."""
    if p < 0.5:  # noqa: PLR2004
        return -quantile(1 - p, freedom)
    low, high = 0.0, 1.0
    while above(high, freedom) > 1 - p:
        low, high = high, high * 2
        if high == inf:
            return inf
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if above(middle, freedom) > 1 - p else (low, middle)
    return (low + high) / 2


def _incomplete_beta(x: float, a: float, b: float) -> float:
    """Regularised; its continued fraction converges fast on the side of the mean that is taken."""
    if x <= 0 or x >= 1:
        return 0.0 if x <= 0 else 1.0
    if x > (a + 1) / (a + b + 2):
        return 1 - _incomplete_beta(1 - x, b, a)
    front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log1p(-x))
    return front * _fraction(x, a, b) / a


def _fraction(x: float, a: float, b: float) -> float:
    """Abramowitz and Stegun 26.5.8, evaluated from the front (Lentz 1976)."""
    c, d = 1.0, 1 / _not_zero(1 - (a + b) * x / (a + 1))
    value = d
    for m in range(1, TERMS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        step = 1.0
        for term in (even, odd):
            d = 1 / _not_zero(1 + term * d)
            c = _not_zero(1 + term / c)
            step = c * d
            value *= step
        if abs(step - 1) < ENOUGH:
            break
    return value


def _not_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY
