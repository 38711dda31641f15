"""How often a series is judged wrongly, and what is seen of a real change, on series whose truth is known.

`python -m tests.domain.power` prints the tables of docs/history.md (about twenty minutes on one core).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from orchestrator.domain.reruns import shows
from orchestrator.domain.series import BASELINE, Point, Trend, Watched, judge
from tests.domain.coverage import autoregressive

Floats = npt.NDArray[np.float64]
Rng = np.random.Generator
Noise = Callable[[Rng, int], Floats]

NIGHTS = 30
SPREADS = (0.01, 0.02, 0.04)
CHANGES = (-0.05, -0.1, -0.2)


def normal(rng: Rng, n: int) -> Floats:
    return rng.standard_normal(n)


def heavy(rng: Rng, n: int) -> Floats:
    """Student's t with 3 degrees of freedom, of variance 1: now and then a night is far off."""
    found: Floats = rng.standard_t(3, n) / np.sqrt(3)
    return found


def alike(rng: Rng, n: int) -> Floats:
    """Neighbouring nights resemble each other, by 0.5."""
    return autoregressive(rng, n, 0.5)


NOISES: dict[str, Noise] = {"normal": normal, "heavy tails": heavy, "nights alike, 0.5": alike}


def points(values: Floats, within: float = 0.005) -> list[Point]:
    """Token rates with an interval within the run of that standard deviation."""
    return [
        Point(
            run=f"{i}",
            value=float(v),
            low=float(v * (1 - 1.96 * within)),
            high=float(v * (1 + 1.96 * within)),
        )
        for i, v in enumerate(values)
    ]


def rates(noise: Noise, rng: Rng, spread: float, change: float, at: int, nights: int) -> Floats:
    """Nights at 1,000 tok/s, from night `at` on at so much less."""
    level = np.where(np.arange(nights) < at, 1.0, 1 + change)
    found: Floats = 1000 * level * np.exp(spread * noise(rng, nights))
    return found


def told(
    noise: Noise, spread: float, change: float, *, after: int, before: int, times: int, seed: int
) -> float:
    """The share of series whose newest night is called a regression, `after` nights into the change (0: there
    is none), which `before` good ones went before."""
    rng = np.random.default_rng(seed)
    nights = before + max(1, after)
    at = before if after else nights
    found = (
        judge(Watched.TOKEN_RATE, points(rates(noise, rng, spread, change, at, nights))).trend
        for _ in range(times)
    )
    return sum(trend is Trend.REGRESSION for trend in found) / times


def ever(noise: Noise, spread: float, *, nights: int, times: int, seed: int) -> tuple[float, float]:
    """The share of unchanging series in which any night of so many is called a regression; and in which any is
    still called so after the cell was measured again the same night."""
    rng = np.random.default_rng(seed)
    told_once = confirmed_once = 0
    for _ in range(times):
        series = points(rates(noise, rng, spread, 0.0, nights, nights))
        again = points(rates(noise, rng, spread, 0.0, nights, nights))
        found = [(n, judge(Watched.TOKEN_RATE, series[:n])) for n in range(BASELINE + 1, nights + 1)]
        flagged = [(n, j) for n, j in found if j.trend is Trend.REGRESSION]
        told_once += bool(flagged)
        confirmed_once += any(
            shows(j, [p for p in series if p.run in j.baseline], again[n - 1]) for n, j in flagged
        )
    return told_once / times, confirmed_once / times


def main(times: int = 1000) -> None:
    """Both tables, as they stand in docs/history.md."""
    say = print
    say("| noise | spread | good nights | one night | any of 60 nights | and confirmed |")
    for name, noise in NOISES.items():
        for spread in SPREADS:
            for before in (BASELINE, 12, NIGHTS):
                one = told(noise, spread, 0.0, after=0, before=before, times=times, seed=1)
                many = (
                    ever(noise, spread, nights=60, times=times // 5, seed=2) if before == NIGHTS else ("", "")
                )
                shown = " | ".join(f"{share:.1%}" if share != "" else "" for share in many)
                say(f"| {name} | {spread:.0%} | {before} | {one:.1%} | {shown} |")
    say("| change | spread | good nights | night 1 | night 3 | night 5 |")
    for change in CHANGES:
        for spread in SPREADS:
            for before in (BASELINE, 12, NIGHTS):
                seen = (
                    told(normal, spread, change, after=after, before=before, times=times // 5, seed=3)
                    for after in (1, 3, 5)
                )
                shares = " | ".join(f"{share:.0%}" for share in seen)
                say(f"| {change:.0%} | {spread:.0%} | {before} | {shares} |")


if __name__ == "__main__":
    main()
