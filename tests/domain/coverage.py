"""How often intervals hold the truth, and how often a drift is seen or imagined, on series whose truth is known.

`python -m tests.domain.coverage` prints the tables of docs/decisions/0007 (about ten minutes on one core).
"""

from __future__ import annotations

from collections.abc import Callable
from math import exp, sqrt

import numpy as np
import numpy.typing as npt

from orchestrator.domain.intervals import SLICES, Bounds, mean_bounds, percentile_bounds
from orchestrator.domain.stationarity import stationarity
from orchestrator.domain.windows import WindowMetrics

Floats = npt.NDArray[np.float64]
Rng = np.random.Generator

PHIS = (0.0, 0.3, 0.5, 0.7, 0.8)
SPREAD = 0.6  # of the logarithm of TTFT, half of its variance shared by neighbours
Z95, Z99 = 1.6448536269514722, 2.3263478740408408


def autoregressive(rng: Rng, n: int, phi: float) -> Floats:
    """A stationary series of variance 1 whose neighbours correlate by phi."""
    shocks = rng.standard_normal(n) * sqrt(1 - phi**2)
    values = np.empty(n)
    values[0] = rng.standard_normal()
    for i in range(1, n):
        values[i] = phi * values[i - 1] + shocks[i]
    return values


def rate(rng: Rng, phi: float) -> tuple[Bounds | None, float]:
    """A token rate of 2,400 that varies by 5 % from slice to slice."""
    rates = 2400 * (1 + 0.05 * autoregressive(rng, SLICES, phi))
    return mean_bounds(rates, np.ones(SLICES)), 2400.0


def ttft(q: int | None, per_slice: int) -> Callable[[Rng, float], tuple[Bounds | None, float]]:
    """The mean or a percentile of lognormal times to first token."""

    def once(rng: Rng, phi: float) -> tuple[Bounds | None, float]:
        slices = np.repeat(np.arange(SLICES), per_slice)
        shared = autoregressive(rng, SLICES, phi)[slices]
        own = rng.standard_normal(len(slices))
        values = np.exp(SPREAD * (shared + own) / sqrt(2))
        if q is None:
            sums = values.reshape(SLICES, per_slice).sum(axis=1)
            return mean_bounds(sums, np.full(SLICES, float(per_slice))), exp(SPREAD**2 / 2)
        truth = exp(SPREAD * {50: 0.0, 95: Z95, 99: Z99}[q])
        return percentile_bounds(values, slices, SLICES, q), truth

    return once


FIGURES = {
    "token rate": rate,
    "TTFT mean, n = 1000": ttft(None, 10),
    "TTFT p50, n = 1000": ttft(50, 10),
    "TTFT p95, n = 1000": ttft(95, 10),
    "TTFT p99, n = 1000": ttft(99, 10),
    "TTFT p99, n = 3000": ttft(99, 30),
}


def coverage(
    figure: Callable[[Rng, float], tuple[Bounds | None, float]], phi: float, *, times: int, seed: int
) -> tuple[float, float]:
    """The share of intervals that hold the truth, and the share of runs that have an interval at all."""
    rng = np.random.default_rng(seed)
    runs = [figure(rng, phi) for _ in range(times)]
    held = [b.low <= truth <= b.high for b, truth in runs if b is not None]
    return sum(held) / max(1, len(held)), len(held) / times


def line(rates: Floats, start_s: float = 20.0) -> tuple[WindowMetrics, ...]:
    """Windows of 5 s with these token rates and an unchanging TTFT."""
    return tuple(
        WindowMetrics(
            start_s=start_s + 5 * i,
            length_s=5.0,
            tokens=5 * float(value),
            tokens_per_s=float(value),
            ttft_mean_s=0.1,
            requests_ended=10,
            errors=0,
            active_users=10.0,
            present_users=10.0,
        )
        for i, value in enumerate(rates)
    )


def alarms(
    shape: Callable[[int], Floats], phi: float, *, noise: float, windows: int, times: int, seed: int
) -> float:
    """The share of runs in which a drift is seen; `noise` is the windows' spread as a share of the rate."""
    rng = np.random.default_rng(seed)
    seen = 0
    for _ in range(times):
        rates = 2400 * (shape(windows) + noise * autoregressive(rng, windows, phi))
        seen += bool(stationarity(line(rates), (20.0, 20.0 + 5 * windows), 5.0).drifts)
    return seen / times


SHAPES: dict[str, Callable[[int], Floats]] = {
    "nothing": np.ones,
    "a step of -10 % in the middle": lambda n: np.where(np.arange(n) < n / 2, 1.0, 0.9),
    "a step of -10 % after four fifths": lambda n: np.where(np.arange(n) < 0.8 * n, 1.0, 0.9),
    "a trend of -10 %": lambda n: np.linspace(1.0, 0.9, n),
}


def main(times: int = 400) -> None:
    """Both tables, as they stand in docs/decisions/0007."""
    print("| figure |", " | ".join(f"phi {phi}" for phi in PHIS), "|")  # noqa: T201
    for name, figure in FIGURES.items():
        held = (coverage(figure, phi, times=times, seed=1) for phi in PHIS)
        shares = " | ".join(f"{share:.1%}" + f" of {of:.0%}" * (of < 1) for share, of in held)
        print(f"| {name} | {shares} |")  # noqa: T201
    print("| what happened | windows | noise |", " | ".join(f"phi {phi}" for phi in PHIS[:4]), "|")  # noqa: T201
    for name, shape in SHAPES.items():
        for windows in (30, 56):
            for noise in (0.02, 0.05):
                seen = (
                    alarms(shape, phi, noise=noise, windows=windows, times=times // 4, seed=2)
                    for phi in PHIS[:4]
                )
                shares = " | ".join(f"{share:.1%}" for share in seen)
                print(f"| {name} | {windows} | {noise:.0%} | {shares} |")  # noqa: T201


if __name__ == "__main__":
    main()
