"""Canaries among the bodies of a load. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, cycle, islice

# After so many sessions (requests, where each stands alone): three within the first hundred, then one per hundred
FIRST = (30, 60, 90)
EVERY = 100


@dataclass(frozen=True, slots=True)
class Mixed:
    """Bodies in the order in which they are drawn, and for each where it came from: its place among the bodies
    that were given, or which canary it is."""

    bodies: tuple[bytes, ...]
    turns: tuple[int, ...]
    places: tuple[int | None, ...]
    canaries: tuple[int | None, ...]

    def drawn(self, sent: Sequence[int]) -> list[int]:
        """Of what was sent, the places of what is no canary."""
        places = (self.places[i] for i in sent)
        return [place for place in places if place is not None]


def mix(bodies: Sequence[bytes], turns: Sequence[int], canaries: Sequence[bytes]) -> Mixed:
    """`turns` may be empty: each body stands alone."""
    counts = turns or (1,) * len(bodies)
    if not canaries:
        return Mixed(tuple(bodies), tuple(turns), tuple(range(len(bodies))), (None,) * len(bodies))
    sessions = list(_sessions(counts, len(canaries)))
    flat = [entry for session in sessions for entry in session]
    return Mixed(
        bodies=tuple(bodies[i] if canary is None else canaries[canary] for i, canary in flat),
        turns=tuple(map(len, sessions)) if turns else (),
        places=tuple(i if canary is None else None for i, canary in flat),
        canaries=tuple(canary for _, canary in flat),
    )


def _sessions(counts: Sequence[int], canaries: int) -> Iterator[list[tuple[int, int | None]]]:
    """(place, canary) of each body, session by session."""
    which = cycle(range(canaries))
    for number, (end, count) in enumerate(zip(accumulate(counts), counts, strict=True), start=1):
        yield [(i, None) for i in range(end - count, end)]
        if number in FIRST or number % EVERY == 0:
            yield [(0, canary) for canary in islice(which, 1)]
