"""Whether two results are the same within a margin, by two one-sided tests (Schuirmann 1987). Pure.

Figures are compared by the logarithm of their ratio. What its variance may rest on:

- WITHIN: one run on each side. The variance is what each figure moved within its run (blocks of its steady window).
  That speaks of these two runs alone: what another start of the same engine would give cannot be seen in one pair.
- BETWEEN: several runs on a side, or other runs of the same thing beside them (`kin`), which take no part in the
  difference and tell how far such runs differ. A run counts as one piece of evidence, and the variance is that of
  whole runs, with as many degrees of freedom as there are runs beyond the first of each kind; never less than within
  them.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from math import exp, inf, log, sqrt
from typing import TypeVar

from backends.contract import Value
from orchestrator.domain import student
from orchestrator.domain.multiplicity import holm
from orchestrator.domain.reading import Figure, Reading

_Name = TypeVar("_Name", bound=Hashable)

ALPHA = 0.05
MOST_RUNS = 64

# How far apart two runs of the same thing may be and still count as the same, as a share of the smaller.
MARGINS = {
    Figure.TOKEN_RATE: 0.05,
    Figure.TTFT_MEAN: 0.10,
    Figure.TTFT_P50: 0.10,
    Figure.TTFT_P95: 0.15,
    Figure.TTFT_P99: 0.20,
}


class Basis(str, Enum):
    """What the variance of a difference rests on."""

    WITHIN = "within-runs"
    BETWEEN = "between-runs"


class Answer(str, Enum):
    """What an equivalence test can say."""

    EQUIVALENT = "equivalent"
    DIFFERENT = "different"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True)
class Effect:
    """The second side over the first, as a logarithm, with its standard error."""

    log_ratio: float
    error: float
    freedom: float
    basis: Basis
    runs: tuple[int, int]

    @property
    def ratio(self) -> float:
        return exp(self.log_ratio)

    def interval(self, level: float) -> tuple[float, float]:
        """Of the ratio."""
        if self.error == 0:
            return self.ratio, self.ratio
        reach = student.quantile((1 + level) / 2, self.freedom) * self.error
        return _exp(self.log_ratio - reach), _exp(self.log_ratio + reach)

    @property
    def p_same(self) -> float:
        """How likely a difference of at least this size is where there is none; two-sided."""
        return 2 * student.above(abs(self._scaled(0.0)), self.freedom)

    def p_beyond(self, margin: float) -> float:
        """Of the two one-sided tests together: small where the difference is smaller than the margin."""
        return (
            student.above((margin - abs(self.log_ratio)) / self.error, self.freedom)
            if self.error
            else (0.0 if abs(self.log_ratio) < margin else 1.0)
        )

    def p_inside(self, margin: float) -> float:
        """Small where the difference is larger than the margin: exact at its two ends."""
        d = abs(self.log_ratio)
        if not self.error:
            return 1.0 if d <= margin else 0.0
        far, near = (d + margin) / self.error, (d - margin) / self.error
        return student.above(near, self.freedom) + student.above(far, self.freedom)

    def _scaled(self, at: float) -> float:
        away = self.log_ratio - at
        return away / self.error if self.error else (0.0 if away == 0 else inf)


@dataclass(frozen=True, slots=True)
class Trial:
    """What is tested: one figure of two sides, and what other runs of the same thing gave."""

    figure: Figure
    first: Sequence[Reading]
    second: Sequence[Reading]
    kin: Sequence[Sequence[Reading]] = ()


class Equivalence(Value):
    """One figure's test. `p_different` is corrected for all figures that were tested together; `needed` are more
    runs of each side until it would be decided if they went on like these, None if that is more than MOST_RUNS or
    nothing is undecided. The interval is the one of 90 % that belongs to the test. `kin` is how many readings of other
    runs of the same thing the spread between runs rests on besides."""

    figure: Figure
    first: float
    second: float
    ratio: float
    low: float
    high: float
    margin: float
    p_equivalent: float
    p_different: float
    answer: Answer
    basis: Basis
    runs: tuple[int, int]
    kin: int = 0
    needed: int | None = None


def effect(
    first: Sequence[Reading], second: Sequence[Reading], kin: Sequence[Sequence[Reading]] = ()
) -> Effect | None:
    """The difference of two sides, each of one or more runs. `kin` are groups of runs of the same thing each. None
    where the variance cannot be known: a single run on each side, one without an interval, and no kin."""
    a, b = (_logs(side) for side in (first, second))
    difference, runs = _mean(b) - _mean(a), (len(a), len(b))
    kinds = [a, b, *map(_logs, kin)]
    freedom = sum(len(kind) - 1 for kind in kinds if kind)
    if not freedom:
        return _within(difference, first[0], second[0])
    variance = max(sum(_squares(kind) for kind in kinds if kind) / freedom, _moved([*first, *second]))
    error = sqrt(variance * (1 / len(a) + 1 / len(b)))
    return Effect(difference, error, float(freedom), Basis.BETWEEN, runs)


def test(
    pairs: Mapping[_Name, Trial],
) -> dict[_Name, Equivalence]:
    """Every pair by its name; those whose variance cannot be known are left out. What is found different is found
    so after Holm's correction over all of them; equivalence needs none, since all must be equivalent."""
    found = {name: (trial, effect(trial.first, trial.second, trial.kin)) for name, trial in pairs.items()}
    known = {name: (trial, e) for name, (trial, e) in found.items() if e is not None}
    corrected = holm([e.p_inside(_log(MARGINS[trial.figure])) for trial, e in known.values()])
    return {
        name: _judged(trial, e, p) for (name, (trial, e)), p in zip(known.items(), corrected, strict=True)
    }


def overall(found: Sequence[Equivalence]) -> Answer:
    """Different if anything is; equivalent only if everything is, and there is anything."""
    answers = {one.answer for one in found}
    if Answer.DIFFERENT in answers:
        return Answer.DIFFERENT
    return Answer.EQUIVALENT if answers == {Answer.EQUIVALENT} else Answer.UNDECIDED


def more_runs(of: Effect, margin: float) -> int | None:
    """How many more runs of each side until this difference would be told to be one or the other."""
    variance, d, had = of.error**2 / sum(1 / n for n in of.runs), abs(of.log_ratio), min(of.runs)
    for n in range(max(2, had + 1), MOST_RUNS + 1):
        reach = student.quantile(1 - ALPHA, 2 * n - 2) * sqrt(2 * variance / n)
        if d + reach <= margin or d - reach >= margin:
            return n - had
    return None


def _judged(trial: Trial, of: Effect, p_different: float) -> Equivalence:
    figure = trial.figure
    margin = _log(MARGINS[figure])
    p_equivalent = of.p_beyond(margin)
    answer = (
        Answer.EQUIVALENT
        if p_equivalent <= ALPHA
        else Answer.DIFFERENT
        if p_different <= ALPHA
        else Answer.UNDECIDED
    )
    low, high = of.interval(1 - 2 * ALPHA)
    first, second = (exp(_mean(_logs(side))) for side in (trial.first, trial.second))
    return Equivalence(
        figure=figure,
        first=first,
        second=second,
        ratio=of.ratio,
        low=low,
        high=high,
        margin=MARGINS[figure],
        p_equivalent=p_equivalent,
        p_different=p_different,
        answer=answer,
        basis=of.basis,
        runs=of.runs,
        kin=sum(map(len, trial.kin)),
        needed=more_runs(of, margin) if answer is Answer.UNDECIDED else None,
    )


def _within(difference: float, first: Reading, second: Reading) -> Effect | None:
    """Two runs that moved by themselves; degrees of freedom by Welch and Satterthwaite."""
    a, b = first.spread, second.spread
    if a is None or b is None:
        return None
    variance = a.deviation**2 + b.deviation**2
    parts = sum(s.deviation**4 / s.freedom for s in (a, b))
    freedom = variance**2 / parts if parts else inf
    return Effect(difference, sqrt(variance), min(freedom, 1e6), Basis.WITHIN, (1, 1))


def _moved(readings: Sequence[Reading]) -> float:
    """The mean variance within runs, of those that have an interval: whole runs cannot vary less."""
    known = [reading.spread.deviation**2 for reading in readings if reading.spread is not None]
    return _mean(known) if known else 0.0


def _logs(readings: Sequence[Reading]) -> list[float]:
    return [log(reading.value) for reading in readings]


def _log(margin: float) -> float:
    return log(1 + margin)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _squares(values: Sequence[float]) -> float:
    mean = _mean(values)
    return sum((value - mean) ** 2 for value in values)


def _exp(value: float) -> float:
    return exp(min(value, 700.0))
