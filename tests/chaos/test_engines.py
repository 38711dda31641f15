"""One night of engines that each do something bad under load: every failure has its name, no other cell suffers, and
once the engines are mended the night is gone on with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from backends.contract import FailureCause
from orchestrator.domain.reasons import Reason
from orchestrator.domain.result import Phase
from tests.chaos import engine
from tests.chaos.conftest import Nights
from tests.chaos.night import TROUBLED, Ended, Happening, Night

LIMIT = "160m"  # Python and the program take a tenth of it
# A load that is longer than the silence that makes a stall
SILENT_CELL = f"""
[[include]]
backend = "{engine.SILENT}"
users = 1
duration_s = 4
"""


@dataclass(frozen=True)
class BadNight:
    """What it came to, and what was finished in it."""

    night: Night
    first: Ended
    sealed: dict[str, bytes]


def troubles(names: Sequence[str]) -> list[Happening]:
    """Each begins with its load; only what does not even say that it is well begins before it is asked."""
    return [
        Happening(
            event="phase-began", name=name, phase="ready" if name == engine.DEAF else "measure", trouble=name
        )
        for name in names
    ]


@pytest.fixture(scope="module")
def bad(nights: Nights, tmp_path_factory: pytest.TempPathFactory) -> BadNight:
    night = nights(tmp_path_factory.mktemp("bad"))
    night.write(("one", *(name for name in TROUBLED if name != engine.SILENT)), more=SILENT_CELL)
    first = night.run(happenings=troubles(TROUBLED), memory_limit=LIMIT)
    return BadNight(night, first, night.sealed())


def test_the_night_goes_on_past_all_of_them(bad: BadNight) -> None:
    """Exit 4, every cell has an end, the healthy engine its figures, and nothing is left."""
    assert 4 == bad.first.code, bad.first.output
    assert len(TROUBLED) + 1 == len(bad.sealed)
    bad.night.require_nothing_left()
    bad.night.require_intact({name: data for name, data in bad.sealed.items() if engine.DEAF not in name})
    metrics = bad.night.result("one").metrics
    assert metrics is not None
    assert metrics.completed > 0


@pytest.mark.parametrize(
    ("name", "phase", "cause", "told"),
    [
        (engine.KILLED, Phase.MEASURE, FailureCause.KILLED, "died with exit code 137"),
        (engine.GLUTTON, Phase.MEASURE, FailureCause.KILLED_BY_KERNEL, "died with exit code 137"),
        (engine.QUITTER, Phase.MEASURE, FailureCause.UNKNOWN, "died with exit code 3"),
    ],
)
def test_a_death_under_load_is_told_by_its_cause(
    bad: BadNight, name: str, phase: Phase, cause: FailureCause, told: str
) -> None:
    """Killed by somebody, killed by the kernel for memory, ended by itself in the middle of a 200."""
    failure = bad.night.result(name).failure

    assert failure is not None
    assert (phase, cause) == (failure.phase, failure.cause)
    assert told in failure.message


def test_an_engine_that_does_not_say_that_it_is_well_is_given_up(bad: BadNight) -> None:
    """By the deadline, although its port is open and its process alive."""
    failure = bad.night.result(engine.DEAF).failure

    assert failure is not None
    assert Phase.READY is failure.phase
    assert "not ready after 4 s" in failure.message


def test_an_engine_that_falls_silent_is_not_believed(bad: BadNight) -> None:
    """Streams that stop are stalls, and a load without a finished answer is invalid."""
    result = bad.night.result(engine.SILENT)

    assert result.metrics is not None
    assert {"stall"} == set(result.metrics.errors)
    assert result.verdict is not None
    assert result.verdict.is_invalid
    assert Reason.ERRORS in {finding.reason for finding in result.verdict.findings}


def test_a_storm_of_429_is_counted_and_not_answered_by_one(bad: BadNight) -> None:
    """Each refusal is a failed request by its status; the client backs off, and the cell is invalid."""
    result = bad.night.result(engine.BUSY)

    assert result.metrics is not None
    assert {"http-status 429"} == set(result.metrics.errors)
    assert 0 < result.metrics.errors["http-status 429"] < 20
    assert result.verdict is not None
    assert result.verdict.is_invalid
    assert any("http-status 429" in finding.text for finding in result.verdict.findings)


def test_what_failed_is_measured_once_the_engines_are_mended(bad: BadNight) -> None:
    """`--only-failed`; what had figures, invalid ones too, is left as it was."""
    failed = (engine.KILLED, engine.GLUTTON, engine.QUITTER, engine.DEAF)
    before = {name: data for name, data in bad.sealed.items() if not name.startswith(failed)}
    ended = bad.night.run("resume", bad.night.run_folder.id, "--only-failed")

    assert 0 == ended.code, ended.output
    bad.night.require_nothing_left()
    bad.night.require_intact(before)
    for name in failed:
        metrics = bad.night.result(name).metrics
        assert metrics is not None
        assert metrics.completed > 0
