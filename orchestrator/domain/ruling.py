"""Whether figures are as a predicate has them: between two values, in an order, along a trend. Pure.

A figure counts as inside a range only if its whole interval is, and as outside only if its whole interval is;
everything between is undecided.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from itertools import pairwise
from math import atanh, inf, sqrt, tanh

from orchestrator.domain.claim import (
    Address,
    Best,
    Correlation,
    Direction,
    Order,
    Predicate,
    Ratio,
    Threshold,
    Trend,
    ValueAt,
)
from orchestrator.domain.equivalence import effect
from orchestrator.domain.reading import Figure, Reading

LEVEL = 0.95
MIN_CORRELATED = 5
_Z = 1.959963984540054

Readings = Mapping[Address, Reading]


class Ruling(str, Enum):
    """What can be said of a published statement."""

    REPRODUCED = "reproduced"
    NOT_REPRODUCED = "not reproduced"
    UNDECIDED = "undecided"
    NOT_COMPARABLE = "not comparable"
    NOT_MEASURED = "not measured"


_RANKED = (
    Ruling.NOT_REPRODUCED,
    Ruling.NOT_COMPARABLE,
    Ruling.NOT_MEASURED,
    Ruling.UNDECIDED,
    Ruling.REPRODUCED,
)


def worst(rulings: Sequence[Ruling]) -> Ruling:
    return min(rulings, key=_RANKED.index) if rulings else Ruling.NOT_MEASURED


def inside(reading: Reading, above: float | None, below: float | None) -> Ruling:
    """Whether a figure lies between two values: with its whole interval, without any of it, or neither."""
    ends = reading.ends
    if ends is None:
        return Ruling.UNDECIDED
    least, most = -inf if above is None else above, inf if below is None else below
    if least <= ends[0] and ends[1] <= most:
        return Ruling.REPRODUCED
    return Ruling.NOT_REPRODUCED if ends[1] < least or most < ends[0] else Ruling.UNDECIDED


def decide(test: Predicate, readings: Mapping[Figure, Readings]) -> tuple[Ruling, str]:
    """The ruling, and in words what it rests on; `readings` holds each figure of each cell that the predicate
    speaks of."""
    of = readings[test.figure]
    if isinstance(test, ValueAt):
        away = test.value * test.tolerance
        return worst([inside(r, test.value - away, test.value + away) for r in of.values()]), ""
    if isinstance(test, Threshold):
        return worst([inside(r, test.above, test.below) for r in of.values()]), ""
    if isinstance(test, Order):
        return _order(test, of)
    if isinstance(test, Trend):
        return _trend(test, of)
    if isinstance(test, Ratio):
        return _ratio(test, of)
    return _correlation(test, of, readings[test.other])


def _order(test: Order, of: Readings) -> tuple[Ruling, str]:
    """Among the first so many if enough rivals are surely behind; not, if as many as there are places are surely
    ahead. `Surely` allows for all rivals at once (Bonferroni)."""
    level = 1 - (1 - LEVEL) / len(test.among)
    sign = 1 if test.best is Best.HIGHEST else -1
    behind = ahead = 0
    for backend in test.among:
        low, high = _ratio_bounds(of[test.cell.of(backend)], of[test.cell], level)
        if sign < 0:
            low, high = 1 / high, 1 / low if low else inf
        behind, ahead = behind + (low > 1), ahead + (high < 1)
    ranked = sorted(of, key=lambda a: of[a].value, reverse=sign > 0)
    place = ranked.index(test.cell) + 1
    statement = f"place {place} of {len(ranked)}: " + ", ".join(a.backend for a in ranked)
    if behind >= len(test.among) + 1 - test.places:
        return Ruling.REPRODUCED, statement
    return (Ruling.NOT_REPRODUCED if ahead >= test.places else Ruling.UNDECIDED), statement


def _trend(test: Trend, of: Readings) -> tuple[Ruling, str]:
    steps = [_ratio_bounds(of[a], of[b], LEVEL) for a, b in pairwise(test.cells)]
    if test.direction is Direction.FALLS:
        steps = [(1 / high if high else inf, 1 / low if low else inf) for low, high in steps]
    rulings = [
        Ruling.REPRODUCED if low > 1 else Ruling.NOT_REPRODUCED if high < 1 else Ruling.UNDECIDED
        for low, high in steps
    ]
    return worst(rulings), " -> ".join(str(a) for a in test.cells)


def _ratio(test: Ratio, of: Readings) -> tuple[Ruling, str]:
    pairs = [(a, other) for a in of if (other := _partner(test, a)) is not None and other in of]
    rulings, words = [], []
    for a, b in pairs:
        low, high = _ratio_bounds(of[b], of[a], LEVEL)
        ratio = Reading(of[a].value / of[b].value, low, high, 1.0)
        rulings.append(inside(ratio, test.above, test.below))
        words.append(f"{a} over {b}: {ratio.value:.3f} ({low:.3f} to {high:.3f})")
    return worst(rulings), "; ".join(words)


def _partner(test: Ratio, one: Address) -> Address | None:
    if test.cell.is_one:
        return test.to if one == test.cell else None
    if one.serving != test.cell.serving:
        return None
    return one.model_copy(update={"serving": test.to.serving})


def _correlation(test: Correlation, of: Readings, other: Readings) -> tuple[Ruling, str]:
    cells = list(of)
    if len(cells) < MIN_CORRELATED:
        return Ruling.NOT_MEASURED, f"{len(cells)} cells, {MIN_CORRELATED} are needed"
    r = _pearson([of[a].value for a in cells], [other[a].value for a in cells])
    if r is None:
        return Ruling.UNDECIDED, "one of the figures is the same in all cells"
    low, high = correlation_bounds(r, len(cells))
    ruling = inside(Reading(r, low, high, 1.0), test.least, None)
    return ruling, f"r = {r:.3f} ({low:.3f} to {high:.3f}) over {len(cells)} cells"


def _pearson(xs: Sequence[float], ys: Sequence[float]) -> float | None:
    x_mean, y_mean = sum(xs) / len(xs), sum(ys) / len(ys)
    xx = sum((x - x_mean) ** 2 for x in xs)
    yy = sum((y - y_mean) ** 2 for y in ys)
    if xx <= 0 or yy <= 0:
        return None
    return sum((x - x_mean) * (y - y_mean) for x, y in zip(xs, ys, strict=True)) / sqrt(xx * yy)


def _ratio_bounds(first: Reading, second: Reading, level: float) -> tuple[float, float]:
    """Of second over first; everything is possible where a run was too short for an interval."""
    found = effect([first], [second])
    return (0.0, inf) if found is None else found.interval(level)


def correlation_bounds(r: float, n: int) -> tuple[float, float]:
    """95 % of Pearson's coefficient by Fisher's transformation."""
    if abs(r) >= 1:
        return r, r
    reach = _Z / sqrt(n - 3)
    return tanh(atanh(r) - reach), tanh(atanh(r) + reach)
