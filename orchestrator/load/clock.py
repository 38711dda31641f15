"""The kernel's receive stamps on our clock.

The kernel stamps with CLOCK_REALTIME, we measure with CLOCK_MONOTONIC. Linux slews both alike (NTP), so
their difference changes only when somebody sets the clock. It is therefore sampled all the time, every
change begins a new era, and a stamp near a change is converted by the era that fits it.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Callable

READINGS = 5
WIDEST_NS = 10_000  # a sample during whose taking we were interrupted says nothing
STEP_NS = 5_000  # beyond what sampling itself scatters
NEAR_NS = 1_000_000_000  # sampled twenty times a second: a change is noticed well within
EARLY_NS = 2_000  # the scatter of the sampled offset may let a stamp lie behind its read

Clock = Callable[[int], int]


def sample(clock_ns: Clock = time.clock_gettime_ns) -> tuple[int, int] | None:
    """(CLOCK_MONOTONIC, what CLOCK_REALTIME is ahead of it), from the tightest of some readings; None where
    none was tight enough."""
    taken: list[tuple[int, int, int]] = []
    for _ in range(READINGS):
        before_ns = clock_ns(time.CLOCK_MONOTONIC)
        real_ns = clock_ns(time.CLOCK_REALTIME)
        after_ns = clock_ns(time.CLOCK_MONOTONIC)
        taken.append((after_ns - before_ns, after_ns, real_ns - (before_ns + after_ns) // 2))
    width_ns, at_ns, offset_ns = min(taken)
    return (at_ns, offset_ns) if width_ns <= WIDEST_NS else None


class Offsets:
    """What has been sampled: eras in which the difference stood still."""

    def __init__(self) -> None:
        self._since_ns: list[int] = []
        self._offset_ns: list[int] = []

    @property
    def steps(self) -> int:
        """How often the clock was set."""
        return max(0, len(self._since_ns) - 1)

    def add(self, at_ns: int, offset_ns: int) -> None:
        """Note a sample; samples come in the order in which they were taken."""
        if not self._offset_ns or abs(offset_ns - self._offset_ns[-1]) > STEP_NS:
            self._since_ns.append(at_ns)
            self._offset_ns.append(offset_ns)

    def arrival_ns(self, read_ns: int, stamp_ns: int) -> int:
        """The kernel's stamp of what was read at `read_ns`, as CLOCK_MONOTONIC; 0 if no era makes it a time
        before the read."""
        if len(self._offset_ns) == 1:
            return _before(stamp_ns - self._offset_ns[0], read_ns)
        fits = (_before(stamp_ns - offset_ns, read_ns) for offset_ns in self._candidates(read_ns))
        return max(fits, default=0)

    def _candidates(self, read_ns: int) -> list[int]:
        """The offset of the read's own era, and of a neighbour that begins or ended near it."""
        now = bisect_right(self._since_ns, read_ns) - 1
        found = [self._offset_ns[now]] if now >= 0 else []
        if now >= 1 and read_ns - self._since_ns[now] < NEAR_NS:
            found.append(self._offset_ns[now - 1])
        if now + 1 < len(self._since_ns) and self._since_ns[now + 1] - read_ns < NEAR_NS:
            found.append(self._offset_ns[now + 1])
        return found


def _before(arrival_ns: int, read_ns: int) -> int:
    """The arrival, no later than the read; 0 if it lies behind it by more than the offset's scatter."""
    return min(arrival_ns, read_ns) if arrival_ns <= read_ns + EARLY_NS else 0
