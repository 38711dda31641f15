"""Where a night went, out of its journal."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.domain.ledger import Ledger, ledger, spent_s


def event(at_s: float, name: str, **facts: Any) -> dict[str, Any]:
    minutes, seconds = divmod(at_s, 60)
    return {"at": f"2026-11-28T00:{minutes:02.0f}:{seconds:06.3f}+00:00", "event": name, **facts}


def phase(at_s: float, name: str, took_s: float, *, ended: bool = True) -> list[dict[str, Any]]:
    how = "phase-ended" if ended else "phase-failed"
    return [event(at_s, "phase-began", phase=name), event(at_s + took_s, how, phase=name, took_s=took_s)]


NIGHT = [
    event(0, "run-began", groups=["one"]),
    *phase(1, "image", 10),
    *phase(11, "gate before", 5),
    *phase(16, "steps build", 3),
    *phase(19, "steps pack", 1),
    *phase(20, "ready", 20),
    *phase(40, "measure u1", 30),
    event(70, "cell-ended", cell="u1", failed=False),
    *phase(70, "measure u2", 10, ended=False),
    event(80, "cell-ended", cell="u2", failed=True),
    *phase(80, "down", 4),
    event(90, "run-ended", complete=False, took_s=89.5),
]


def test_every_second_is_somewhere() -> None:
    """Phases by kind, in the order of a group; what is in no phase is overhead."""
    found = ledger(NIGHT)

    assert ["image", "steps", "gate", "ready", "measure", "down"] == list(found.phases_s)
    assert (10, 4, 5, 20, 40, 4) == tuple(found.phases_s.values())
    assert 89.5 == found.wall_s
    assert 6.5 == pytest.approx(found.overhead_s)
    assert 40 / 89.5 == pytest.approx(found.measuring_share)
    assert 89.5 - 40 - 20 - 5 == pytest.approx(found.busy_s)
    assert (10, 1, 0, 1) == (found.failed_s, found.sittings, found.cut_short, found.measured)


def test_a_night_of_several_sittings_is_one_night() -> None:
    """The hours between them are nobody's; a sitting that was killed ends with its last line."""
    killed = [event(0, "run-began"), *phase(0, "image", 10), event(12, "phase-began", phase="weights")]
    later = [
        event(1000, "run-resumed"),
        *phase(1000, "measure u1", 30),
        event(1040, "run-ended", took_s=40.0),
    ]
    found = ledger([*killed, *later])

    assert (12 + 40, 2, 1) == (found.wall_s, found.sittings, found.cut_short)
    assert {"image": 10, "measure": 30} == found.phases_s


def test_a_clock_that_is_set_makes_no_time() -> None:
    """Phases were measured with another clock: less than they took it cannot have been."""
    back = [event(600, "run-began"), *phase(600, "image", 50), event(0, "run-stopped", error="x")]

    assert 50 == ledger(back).wall_s
    assert 0 == ledger(back).overhead_s


@pytest.mark.parametrize("cut", range(len(NIGHT) + 1))
def test_a_torn_journal_is_read_as_far_as_it_goes(cut: int) -> None:
    """Whichever line is the last."""
    found = ledger(NIGHT[:cut])

    assert sum(found.phases_s.values()) <= found.wall_s <= 90
    assert found.cut_short == (cut < len(NIGHT) and cut > 0)


def test_a_line_of_nonsense_is_no_time() -> None:
    """A field that is missing or is no number counts for nothing."""
    odd = [{"event": "phase-ended", "phase": "image"}, {"event": "phase-failed", "took_s": "long"}, {}]

    assert 0 == ledger(odd).wall_s
    assert 0 == ledger([]).measuring_share
    assert 0 == ledger([]).sittings


def test_a_group_that_was_run_alone_is_not_cut_short() -> None:
    """It leaves the run open for the others."""
    alone = [event(0, "group-taken"), event(1, "group-began"), event(9, "group-ended", took_s=8.0)]

    assert (9, 0) == (ledger(alone).wall_s, ledger(alone).cut_short)
    assert 1 == ledger(alone[:-1]).cut_short


def test_the_budget_counts_what_was_cut_short() -> None:
    """But not what a night took that had ended: whoever goes on with it gives it a new one."""
    now = event(2000, "run-resumed")
    cut = [event(1000, "run-resumed"), *phase(1000, "image", 100)]

    assert 0 == spent_s([event(0, "run-began")])
    assert 0 == spent_s([*NIGHT, now])
    assert 100 == spent_s([*NIGHT, *cut, now])
    assert 200 == spent_s([*cut, *cut, now])


def test_programs_get_the_sums_too() -> None:
    """Nobody has to add up."""
    record = ledger(NIGHT).record()

    assert {"overhead_s", "measuring_share", "busy_s"} == set(record) - set(Ledger.model_fields)
