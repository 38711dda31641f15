"""Exchanges as columns, and the sums over time that figures are made of. Pure.

Parts of time are half-open: a moment belongs to the one that begins with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from orchestrator.domain.counts import event_weights
from orchestrator.domain.exchange import Exchange, Outcome

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

NEVER = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True)
class Part:
    """From `start` until before `end`, in nanoseconds after the start of the ramp."""

    start: int
    end: int

    @property
    def length_s(self) -> float:
        return (self.end - self.start) / 1e9

    def holds(self, times: Ints) -> Bools:
        return (times >= self.start) & (times < self.end)


@dataclass(frozen=True, slots=True)
class Table:
    """The exchanges as columns. Times are nanoseconds after the start of the ramp, or NEVER.

    `scheduled` is NEVER in a closed loop; `begin` is then the time of sending, and what latencies count from. `event` has one entry per event with content, of all exchanges;
    `weight` says how many tokens it stands for and `gap_s` how long after its predecessor it came (NaN for an
    exchange's first).
    """

    user: Ints
    scheduled: Ints
    begin: Ints
    send: Ints
    end: Ints
    first: Ints
    ok: Bools
    failed: Bools
    event: Ints
    weight: Floats
    gap_s: Floats

    def tokens(self, part: Part) -> float:
        return float(self.weight[part.holds(self.event)].sum())

    def ttft_s(self, rows: Bools) -> Floats:
        return (self.first[rows] - self.begin[rows]) / 1e9


def table(exchanges: Sequence[Exchange], start_ns: int) -> Table:
    """Columns of all exchanges, in their order."""
    counts = _ints(len(x.event_ns) for x in exchanges)
    event = np.concatenate([np.empty(0, np.int64), *(x.event_ns for x in exchanges)])
    return Table(
        user=_ints(x.user for x in exchanges),
        scheduled=_ints(x.scheduled_ns - start_ns if x.scheduled_ns else NEVER for x in exchanges),
        begin=_ints(x.begin_ns - start_ns for x in exchanges),
        send=_ints(x.send_ns - start_ns if x.send_ns else NEVER for x in exchanges),
        end=_ints(x.end_ns - start_ns for x in exchanges),
        first=_ints(x.first_token_ns - start_ns if x.first_token_ns else NEVER for x in exchanges),
        ok=np.array([x.outcome is Outcome.OK for x in exchanges], bool),
        failed=np.array([x.outcome.failed for x in exchanges], bool),
        event=event - start_ns,
        weight=event_weights(exchanges),
        gap_s=_gaps_s(event, counts),
    )


def busy_s(begin: Ints, end: Ints, edges: Ints) -> Floats:
    """Seconds that the periods begin..end, overlapping freely, spend between neighbouring edges."""
    return np.diff(_elapsed(begin, edges) - _elapsed(end, edges)) / 1e9


def sums(times: Ints, edges: Ints, values: Floats | None = None) -> Floats:
    """Between neighbouring edges, how many of the times lie there, or the sum of their values."""
    windows = len(edges) - 1
    index = np.searchsorted(edges, times, side="right") - 1
    inside = (index >= 0) & (index < windows)
    picked = None if values is None else values[inside]
    return np.bincount(index[inside], weights=picked, minlength=windows).astype(float)


def _elapsed(moments: Ints, at: Ints) -> Ints:
    """Sum over the moments before `at` of the time since each."""
    ordered = np.sort(moments)
    before = np.searchsorted(ordered, at)
    total = np.concatenate([np.zeros(1, np.int64), np.cumsum(ordered)])
    elapsed: Ints = before * at - total[before]
    return elapsed


def _gaps_s(event: Ints, counts: Ints) -> Floats:
    gaps_s = np.diff(event, prepend=0) / 1e9
    starts = (np.cumsum(counts) - counts)[counts > 0]
    gaps_s[starts] = np.nan
    return gaps_s


def _ints(values: Iterable[int]) -> Ints:
    return np.fromiter(values, np.int64)
