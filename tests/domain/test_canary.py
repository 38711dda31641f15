"""Canaries: whether a greedy answer begins as the one that a single user got."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from orchestrator.domain.canary import (
    EXPECTED_SHARE,
    FALSE_ALARMS,
    MIN_CANARIES,
    Compared,
    compared,
    least_differing,
    references,
)
from orchestrator.domain.exchange import Exchange, Outcome
from tests.domain.made import exchange

KNOWN = {0: "one two three"}


def said(text: str, canary: int | None = 0, outcome: Outcome = Outcome.OK) -> Exchange:
    return replace(exchange(0.0, (0.1,), outcome=outcome), text=text, canary=canary)


def test_references_are_what_was_said_twice() -> None:
    """A canary that a single user is answered differently, or not at all, proves nothing."""
    first = [said("a", 0), said("b", 1), said("", 2), said("d", 3, Outcome.STALL), said("e\ufffd", 4)]
    second = [said("a", 0), said("B", 1), said("", 2), said("d", 3), said("e", 4)]

    assert {0: "a", 4: "e"} == references(first, second)


@pytest.mark.parametrize(
    ("found", "answer"),
    [
        ((1, 0), said("one two three four")),
        ((1, 0), said("one two three")),
        ((1, 1), said("one too many, and so on")),
        ((1, 1), said("one two")),  # ended by itself before the other did
        ((0, 0), said("one two", outcome=Outcome.CUT)),
        ((0, 0), said("", outcome=Outcome.CONNECT)),
        ((1, 0), said("one two three four", outcome=Outcome.CUT)),
        ((0, 0), said("else", None)),
        ((0, 0), said("else", 1)),
    ],
)
def test_beginnings_are_compared(found: tuple[int, int], answer: Exchange) -> None:
    """An answer that we cut, or that failed, counts only where it had come as far as the known one."""
    seen = compared([answer], KNOWN)

    assert found == (seen.n, seen.differing)


def test_prompts_that_differ_are_counted_once() -> None:
    """One prompt where two tokens are nearly alike may differ each time."""
    known = {0: "a", 1: "b"}
    found = [said("x", 0), said("y", 0), said("b", 1)]

    assert Compared(3, 2, 1) == compared(found, known)
    assert Compared(4, 3, 2) == compared([*found, said("z", 1)], known)


@pytest.mark.parametrize(
    ("n", "least"), [(0, 2), (1, 2), (2, 2), (3, 2), (5, 3), (10, 4), (20, 5), (50, 8), (100, 12)]
)
def test_so_many_differ_by_chance_in_one_load_of_a_hundred_at_most(n: int, least: int) -> None:
    """If each differs five times in a hundred; one fewer may be chance more often than that."""
    chance = np.random.default_rng(5).binomial(n, EXPECTED_SHARE, 400_000)

    assert least == least_differing(n)
    assert (chance >= least).mean() <= FALSE_ALARMS * 1.05
    assert least == MIN_CANARIES or (chance >= least - 1).mean() > FALSE_ALARMS
