"""Where a row of values changes its level: the largest cumulative sum, against the same values in another order.

Pure and seeded. Windows of a run (stationarity.py) and nights of a series (series.py) are judged with it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

PERMUTATIONS = 499
SEED = 20240605


@dataclass(frozen=True, slots=True)
class Shift:
    """`at` is the first value of the new level; `p` the share of orders with a score as large."""

    at: int
    p: float


def shift(values: Floats, shuffled: Floats, side: int) -> Shift:
    """The likeliest place of a shift, with at least `side` values on either side of it. `shuffled` has the same
    values in other orders, one a row."""
    found = scores(values[None], side)[0]
    return Shift(
        int(np.argmax(found)) + side, share_as_high(float(found.max()), scores(shuffled, side).max(axis=1))
    )


def scores(rows: Floats, side: int) -> Floats:
    """Per row, how unlike its mean is on both sides of each possible shift."""
    n = rows.shape[1]
    at = np.arange(side, n - side + 1)
    reached = np.cumsum(rows - rows.mean(axis=1, keepdims=True), axis=1)[:, at - 1]
    found: Floats = np.abs(reached) * np.sqrt(n / (at * (n - at)))
    return found


def orders(n: int, length: int) -> Ints:
    """Rows of indices: blocks of `length` neighbours in any order, cut at a random place."""
    rng = np.random.default_rng(SEED)
    block = np.minimum(np.arange(n) // length, n // length - 1)
    order = np.argsort(rng.random((PERMUTATIONS, n // length))[:, block], axis=1, kind="stable")
    rows: Ints = (order + rng.integers(n, size=(PERMUTATIONS, 1))) % n
    return rows


def share_as_high(score: float, others: Floats) -> float:
    """The share of orders that score as high, this one among them."""
    return float((1 + (others >= score * (1 - 1e-12)).sum()) / (1 + len(others)))
