"""When users start and how long they wait after failures. Pure: a table tests it, nobody sleeps."""

from __future__ import annotations

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
