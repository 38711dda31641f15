"""SIGKILL of the orchestrator in each phase, with a container up or not: the next start goes on."""

from __future__ import annotations

import pytest

from tests.chaos.night import Happening, Night


@pytest.mark.parametrize(
    ("phase", "finished"),
    [
        ("image", 2),
        ("weights", 2),
        ("up", 2),
        ("ready", 2),
        ("warm-up", 2),
        ("measure u2", 3),
        ("down", 4),
    ],
)
def test_a_night_killed_in_any_phase_is_gone_on_with(cut_night: Night, phase: str, finished: int) -> None:
    """What had finished stands as it was; the container that nobody took down is gone; all else is measured once."""
    at = Happening(event="phase-began", name=cut_night.due_engine, phase=phase)
    cut_night.killed(at, "resume", cut_night.run_folder.id)
    before = cut_night.sealed()
    was_up = cut_night.containers()
    ended = cut_night.resume()

    assert 0 == ended.code, ended.output
    assert (phase in ("ready", "warm-up", "measure u2", "down")) is bool(was_up)
    assert finished == len(before)
    cut_night.require_nothing_left()
    cut_night.require_intact(before)
    cut_night.require_whole(4)
