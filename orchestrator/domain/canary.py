"""Canaries: greedy requests within a load whose answers a single user got before it. Pure.

A greedy answer is the same whatever else an engine computes, but for rounding: in another batch numbers are
added up in another order, and where two tokens are nearly alike the answer may turn, and is another one from
there on. So a single difference proves nothing, and only the beginnings are compared. Nor do many of one prompt,
which may stand where two tokens are nearly alike: it takes two prompts, and more differences than chance makes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import comb

from orchestrator.domain.exchange import Exchange, Outcome

PROMPTS = 3  # different ones
COMPARED_TOKENS = 8
MIN_CANARIES = 2
MIN_CANARY_PROMPTS = 2
# Of the canaries of a sound engine no more than this differ (measured: docs/metrics.md); so many that it is a false
# alarm in no more than this share of loads are a reason.
EXPECTED_SHARE = 0.05
FALSE_ALARMS = 0.01
_BROKEN = "\ufffd"  # half of a character, where the comparison ends in the middle of one


def references(first: Sequence[Exchange], second: Sequence[Exchange]) -> dict[int, str]:
    """The beginning of the answer to each canary, from a single user who asked twice; without those that
    the engine answered differently even then."""
    again = {x.canary: _said(x) for x in second}
    return {
        x.canary: _said(x)
        for x in first
        if x.canary is not None and x.outcome is Outcome.OK and _said(x) and again.get(x.canary) == _said(x)
    }


@dataclass(frozen=True, slots=True)
class Compared:
    """How many canaries had an answer as long as the one known, how many of those began otherwise, and how many
    different prompts these had."""

    n: int
    differing: int
    prompts: int


def compared(exchanges: Sequence[Exchange], known: Mapping[int, str]) -> Compared:
    """The canaries among the exchanges, held against the answers known."""
    pairs = [(x, known[x.canary]) for x in exchanges if x.canary in known and x.canary is not None]
    # what we cut, or what failed, is compared only if it came far enough; what ended early by itself differs
    fit = [(x, told) for x, told in pairs if x.outcome is Outcome.OK or len(_said(x)) >= len(told)]
    differing = [x.canary for x, told in fit if not _said(x).startswith(told)]
    return Compared(len(fit), len(differing), len(set(differing)))


def least_differing(n: int) -> int:
    """From how many of `n` on chance is no explanation: P(Binomial(n, EXPECTED_SHARE) >= k) <= FALSE_ALARMS."""
    beyond, least = 1.0, 0  # P(>= 0)
    while beyond > FALSE_ALARMS and least <= n:
        beyond -= comb(n, least) * EXPECTED_SHARE**least * (1 - EXPECTED_SHARE) ** (n - least)
        least += 1
    return max(least, MIN_CANARIES)


def _said(x: Exchange) -> str:
    return x.text.rstrip(_BROKEN)
