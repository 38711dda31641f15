"""How often the equivalence test says what, by how far whole runs differ: the table in docs/reproduce.md.

Run it: `python -m tests.domain.pair_power`.
"""

from __future__ import annotations

from collections import Counter
from math import exp, log

import numpy as np

from orchestrator.domain import equivalence
from orchestrator.domain.equivalence import MARGINS, Answer, Trial
from orchestrator.domain.intervals import student
from orchestrator.domain.reading import Figure, Reading

DRAWS = 2000
WITHIN = 0.01
BLOCKS = 20.0
SHIFTS = (1.0, 1.05, 1.10)
BETWEEN = (0.0, 0.01, 0.02, 0.03, 0.05)
RUNS = ((1, 0), (1, 5), (3, 0), (5, 0))  # of each side, and further ones


def reading(rng: np.random.Generator, level: float, between: float) -> Reading:
    """A run with a level of its own, and an interval from what it moved within."""
    value = exp(level + rng.normal(0, between) + rng.normal(0, WITHIN))
    deviation = WITHIN * float(np.sqrt(rng.chisquare(BLOCKS - 1) / (BLOCKS - 1)))
    reach = exp(student(BLOCKS - 1) * deviation)
    return Reading(value, value / reach, value * reach, BLOCKS)


def shares(shift: float, between: float, runs: int, kin: int) -> dict[Answer, float]:
    rng = np.random.default_rng(20240605)
    counts: Counter[Answer] = Counter()
    for _ in range(DRAWS):
        first, second, more = (
            [reading(rng, level, between) for _ in range(n)]
            for level, n in ((0.0, runs), (log(shift), runs), (0.0, kin))
        )
        trial = Trial(Figure.TOKEN_RATE, first, second, [more] if more else [])
        counts[equivalence.test({"x": trial})["x"].answer] += 1
    return {answer: counts[answer] / DRAWS for answer in Answer}


def main() -> None:
    print(f"margin {MARGINS[Figure.TOKEN_RATE]:.0%}, within a run {WITHIN:.0%}, {DRAWS} draws")  # noqa: T201
    for shift in SHIFTS:
        for between in BETWEEN:
            cells = []
            for runs, kin in RUNS:
                found = shares(shift, between, runs, kin)
                cells.append(f"{found[Answer.EQUIVALENT]:.0%} / {found[Answer.DIFFERENT]:.0%}")
            print(f"| {shift:.2f} | {between:.0%} | {' | '.join(cells)} |")  # noqa: T201


if __name__ == "__main__":
    main()
