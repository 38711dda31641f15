"""Ramp, steady, drain; and the time line in windows. Pure.

Steady never begins before the ramp that was asked for is over. Within what follows it is the longest stretch in
which enough users take part; where that is too short, their number unknown, or in an open loop, it is all that follows
the ramp.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from math import ceil

import numpy as np

from backends.contract import Value
from orchestrator.domain.table import NEVER, Bools, Floats, Ints, Part, Table, busy_s, sums

ACTIVE_SHARE = 0.95
# A steady window found by users that is shorter than this share of what follows the ramp is not taken.
MIN_STEADY_SHARE = 0.5
# A user that has ended its last request this long before the end of measuring, its think time apart, is gone.
# After a failure it may be backing off (orchestrator/pace.py).
GONE_S = 1.0
BACKOFF_S = 5.0
# A remainder of the measured time shorter than this share of a window joins the last whole window.
MIN_WINDOW_SHARE = 0.1


class SteadyRule(str, Enum):
    """How the steady window was found."""

    USERS_ACTIVE = "users-active"
    AFTER_RAMP = "after-ramp"
    OPEN_LOOP = "open-loop"


class Span(Value):
    """The measured time in CLOCK_MONOTONIC nanoseconds: ramp from `start_ns`, steady until `end_ns`."""

    start_ns: int
    steady_ns: int
    end_ns: int


class WindowMetrics(Value):
    """One window of the time line; `start_s` counts from the start of the ramp."""

    start_s: float
    length_s: float
    tokens: float
    tokens_per_s: float
    ttft_mean_s: float | None
    requests_ended: int
    errors: int
    active_users: float
    present_users: float


@dataclass(frozen=True, slots=True)
class Presence:
    """From when until when each user took part; `gone` are those that stopped before the end of measuring."""

    first: Ints
    until: Ints
    gone: Bools


@dataclass(frozen=True, slots=True)
class Parts:
    """The measured time and its steady part, in nanoseconds after the start of the ramp."""

    whole: Part
    steady: Part
    rule: SteadyRule


def presence(table: Table, end: int, think_s: float) -> Presence:
    """Each user from its first request to the end of its last, or to the end of measuring if it was thinking."""
    users, index = np.unique(table.user, return_inverse=True)
    first = np.full(len(users), NEVER)
    np.minimum.at(first, index, table.send)
    until = np.zeros(len(users), np.int64)
    pause_s = think_s + np.where(table.failed, GONE_S + BACKOFF_S, GONE_S)
    np.maximum.at(until, index, np.where(table.end + pause_s * 1e9 >= end, max(0, end), table.end))
    return Presence(first, until, gone=until < end)


def parts(table: Table, span: Span, present: Presence, users: int | None) -> Parts:
    """Where steady begins and ends, and by which rule."""
    end = max(0, span.end_ns - span.start_ns)
    whole = Part(0, end)
    asked = Part(min(max(0, span.steady_ns - span.start_ns), end), end)
    if (table.scheduled != NEVER).any():
        return Parts(whole, asked, SteadyRule.OPEN_LOOP)
    found = _longest(present, asked, ceil(ACTIVE_SHARE * (users or 0)))
    if users is None or found.length_s < MIN_STEADY_SHARE * asked.length_s or found.length_s == 0:
        return Parts(whole, asked, SteadyRule.AFTER_RAMP)
    return Parts(whole, found, SteadyRule.USERS_ACTIVE)


def present_s(present: Presence, edges: Ints) -> Floats:
    """Seconds in which users took part, between neighbouring edges."""
    return busy_s(present.first, present.until, edges)


def windows(table: Table, whole: Part, present: Presence, window_s: float) -> tuple[WindowMetrics, ...]:
    """The time line from the start of the ramp to the end of measuring."""
    edges = _edges(whole.end, window_s)
    lengths_s = np.diff(edges) / 1e9
    tokens = sums(table.event, edges, table.weight)
    answered = table.first < whole.end
    firsts = sums(table.first[answered], edges)
    ttfts_s = sums(table.first[answered], edges, table.ttft_s(answered))
    ok = sums(table.end[table.ok], edges)
    errors = sums(table.end[table.failed], edges)
    in_flight_s = busy_s(table.send, table.end, edges)
    taking_part_s = present_s(present, edges)
    return tuple(
        WindowMetrics(
            start_s=float(edges[i]) / 1e9,
            length_s=float(length_s),
            tokens=float(tokens[i]),
            tokens_per_s=float(tokens[i] / length_s),
            ttft_mean_s=float(ttfts_s[i] / firsts[i]) if firsts[i] else None,
            requests_ended=int(ok[i]),
            errors=int(errors[i]),
            active_users=float(in_flight_s[i] / length_s),
            present_users=float(taking_part_s[i] / length_s),
        )
        for i, length_s in enumerate(lengths_s)
    )


def _longest(present: Presence, within: Part, enough: int) -> Part:
    """The longest stretch in which at least so many users take part; empty if there is none."""
    moments = np.concatenate((present.first, present.until, [within.start, within.end]))
    edges = np.unique(np.clip(moments, within.start, within.end))
    began = np.searchsorted(np.sort(present.first), edges[:-1], side="right")
    ended = np.searchsorted(np.sort(present.until), edges[:-1], side="right")
    full = np.concatenate(([False], began - ended >= enough, [False]))
    turns = np.flatnonzero(full[1:] != full[:-1])
    stretches = [Part(int(edges[a]), int(edges[b])) for a, b in zip(turns[::2], turns[1::2], strict=True)]
    return max(stretches, key=lambda s: s.end - s.start, default=Part(within.start, within.start))


def _edges(end: int, window_s: float) -> Ints:
    """Where windows begin, and at last where the measured time ends."""
    width = max(1, round(window_s * 1e9))
    starts = np.arange(0, end, width, dtype=np.int64)
    if len(starts) > 1 and end - starts[-1] < MIN_WINDOW_SHARE * width:
        starts = starts[:-1]
    return np.append(starts, end)
