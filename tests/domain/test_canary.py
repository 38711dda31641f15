"""Canaries: whether a greedy answer begins as the one that a single user got."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.domain.canary import compared, references
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
    assert found == compared([answer], KNOWN)
