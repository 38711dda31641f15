"""When users start, how long they wait after failures, and when the requests of an open loop are due. Pure: a
table tests it, nobody sleeps."""

from __future__ import annotations

import math
import random
from array import array
from collections.abc import Iterator, Sequence
from itertools import count

from orchestrator.domain.workload import Arrivals

BACKOFF_FIRST_S = 0.1
BACKOFF_MAX_S = 5.0


def start_s(user: int, users: int, ramp_s: float) -> float:
    """When user `user` (0-based) of `users` starts: evenly over the ramp, the first at once.

    The article's client spaced its users exactly so (load-clients.md 1.1): with 100 users in 20 s one
    starts every 0.2 s and the last at 19.8 s.
    """
    return ramp_s * user / users


def backoff_s(failures: int) -> float:
    """Pause after the n-th failure in a row, so that a failing engine is not hammered; 0 after none."""
    if failures == 0:
        return 0.0
    return min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2.0 ** (failures - 1))


def due_ns(arrivals: Arrivals, rate_per_s: float, ramp_s: float, length_s: float, seed: str) -> array[int]:
    """When each request is due, in nanoseconds after the start: CONSTANT or POISSON arrivals whose rate rises evenly
    from 0 to `rate_per_s` over `ramp_s` and then stays.

    Moments of a rate of 1 a second are carried over to the time at which so many requests are due; so the same seed
    gives the same pattern at every rate.
    """
    moments = _exponential(seed) if arrivals is Arrivals.POISSON else map(float, count())
    found = array("q")
    for moment in moments:
        at_s = _at_s(moment, rate_per_s, ramp_s)
        if at_s >= length_s:
            return found
        found.append(round(at_s * 1e9))
    return found


def replayed_ns(times_s: Sequence[float], rate_per_s: float | None, length_s: float) -> array[int]:
    """When each request of a trace is due, in nanoseconds after the first: as recorded, or stretched so that there
    are `rate_per_s` of them on average. Times that fall are where the trace begins anew: there it ends."""
    ends = next((i for i in range(1, len(times_s)) if times_s[i] < times_s[i - 1]), len(times_s))
    after_s = [t - times_s[0] for t in times_s[:ends]]
    stretch = 1.0
    if rate_per_s is not None and after_s[-1] > 0:
        stretch = (len(after_s) - 1) / after_s[-1] / rate_per_s
    return array("q", [round(t * stretch * 1e9) for t in after_s if t * stretch < length_s])


def _exponential(seed: str) -> Iterator[float]:
    """Moments with gaps of mean 1. Python promises that a seeded `random()` stays the same, and not `expovariate()`."""
    source, at = random.Random(seed), 0.0
    while True:
        at -= math.log(1.0 - source.random())
        yield at


def _at_s(moment: float, rate_per_s: float, ramp_s: float) -> float:
    """When `moment` requests are due, of a rate that rises over the ramp: half as many come within it."""
    within = rate_per_s * ramp_s / 2
    if moment < within:
        return math.sqrt(2 * ramp_s * moment / rate_per_s)
    return ramp_s + (moment - within) / rate_per_s
