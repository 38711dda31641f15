"""When the requests of an open loop are due, for the bodies that a load draws from. Pure."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Sequence

from orchestrator.domain.cell import Load
from orchestrator.domain.workload import Workload
from orchestrator.load.mix import Mixed
from orchestrator.pace import due_ns, replayed_ns


def schedule(load: Load, workload: Workload, mixed: Mixed, times_s: Sequence[float]) -> array[int] | None:
    """Nanoseconds after the start of the ramp, rising; None in a closed loop. `times_s` are the trace's, of the
    bodies that canaries were mixed into: a canary is due together with what stands before it."""
    if load.arrivals is None:
        return None
    if load.rate_per_s is not None and not times_s:
        seed = f"{workload.prompts.seed} arrivals"
        return due_ns(load.arrivals, load.rate_per_s, workload.ramp_s, workload.length_s, seed)
    mixed_s: list[float] = []
    for place in mixed.places:
        mixed_s.append(mixed_s[-1] if place is None else times_s[place])
    return replayed_ns(mixed_s, load.rate_per_s, workload.length_s)


def length_s(workload: Workload, due: array[int] | None) -> float:
    """Until when is measured: a trace that is over sooner ends it with its last request."""
    if due is None or not workload.prompts.is_trace:
        return workload.length_s
    return min(workload.length_s, due[-1] / 1e9)


def asked_per_s(due: array[int] | None, start_s: float, length_s: float) -> float | None:
    """How many requests were due a second within a stretch of the load; None in a closed loop."""
    if due is None or length_s <= 0:
        return None
    begin, end = (bisect_left(due, round(at_s * 1e9)) for at_s in (start_s, start_s + length_s))
    return (end - begin) / length_s
