"""orchestrator/host/findings.py: what becomes of findings."""

from __future__ import annotations

import pytest

from orchestrator.errors import HostError
from orchestrator.host.findings import Check, Finding, Level, lines, require

FINE = Finding(Check.CPUS, Level.OK, "8 usable")
SLOW = Finding(Check.GOVERNOR, Level.WARN, "powersave", "set it to performance")
FULL = Finding(Check.DISK, Level.FAIL, "1.0 GB free, 9.0 GB needed", "free 8.0 GB there")
DOWN = Finding(Check.DOCKER, Level.FAIL, "no daemon answers", "start it")


def test_warnings_stand_in_nobodys_way() -> None:
    """Without a failure nothing is raised."""
    require((FINE, SLOW))


def test_all_failures_are_told_at_once_with_their_next_steps() -> None:
    """One error, every failure in it, and what is fine left out."""
    with pytest.raises(HostError) as caught:
        require((FINE, FULL, SLOW, DOWN))

    assert str(caught.value) == (
        "2 things stand in the way on this host:"
        "\n- disk: 1.0 GB free, 9.0 GB needed -> free 8.0 GB there"
        "\n- Docker: no daemon answers -> start it"
    )
    assert caught.value.exit_code == 3
    assert caught.value.hint


def test_one_failure_is_one_thing() -> None:
    """The sentence counts."""
    with pytest.raises(HostError, match=r"^one thing stands in the way"):
        require((FULL,))


def test_each_finding_is_a_plain_line() -> None:
    """Level, check, text, and the next step where there is one."""
    assert lines((FINE, SLOW)) == (
        "ok   CPUs: 8 usable",
        "warn CPU governor: powersave -> set it to performance",
    )
