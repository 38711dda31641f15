"""Canaries: greedy requests within a load whose answers a single user got before it. Pure.

A greedy answer is the same whatever else an engine computes, but for rounding: in another batch numbers are
added up in another order, and where two tokens are nearly alike the answer may turn, and is another one from
there on. So a single difference proves nothing, and only the beginnings are compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from orchestrator.domain.exchange import Exchange, Outcome

PROMPTS = 3  # different ones
COMPARED_TOKENS = 8
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


def compared(exchanges: Sequence[Exchange], known: Mapping[int, str]) -> tuple[int, int]:
    """How many canaries had an answer as long as the one known, and how many of those began otherwise."""
    pairs = [(x, known[x.canary]) for x in exchanges if x.canary in known and x.canary is not None]
    # what we cut, or what failed, is compared only if it came far enough; what ended early by itself differs
    fit = [(_said(x), told) for x, told in pairs if x.outcome is Outcome.OK or len(_said(x)) >= len(told)]
    return len(fit), sum(not said.startswith(told) for said, told in fit)


def _said(x: Exchange) -> str:
    return x.text.rstrip(_BROKEN)
