"""Canaries among a load: where they stand, and what is drawn without them."""

from __future__ import annotations

from orchestrator.load.mix import mix

BODIES = tuple(b"%d" % i for i in range(350))


def test_three_within_the_first_hundred_then_one_per_hundred() -> None:
    """In turn, and nothing else is moved."""
    mixed = mix(BODIES, (), (b"a", b"b", b"c"))
    found = [(i, body) for i, body in enumerate(mixed.bodies) if body.isalpha()]

    assert [(30, b"a"), (61, b"b"), (92, b"c"), (103, b"a"), (204, b"b"), (305, b"c")] == found
    assert list(BODIES) == [body for body in mixed.bodies if body.isdigit()]
    assert [mixed.canaries[i] for i, _ in found] == [0, 1, 2, 0, 1, 2]


def test_what_was_drawn_is_told_without_canaries() -> None:
    """By the places that the bodies had."""
    mixed = mix(BODIES, (), (b"a",))

    assert [29, 30] == mixed.drawn([29, 30, 31])


def test_sessions_stay_whole() -> None:
    """A canary is a session of its own."""
    mixed = mix(BODIES[:62], (2,) * 31, (b"a",))

    assert (*(2,) * 30, 1, 2) == mixed.turns
    assert b"a" == mixed.bodies[60]


def test_without_canaries_nothing_changes() -> None:
    """A release may not be able to answer greedily."""
    mixed = mix(BODIES, (), ())

    assert (BODIES, ()) == (mixed.bodies, mixed.turns)
    assert [5] == mixed.drawn([5])
