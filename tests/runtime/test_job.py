"""orchestrator/runtime/job.py: looking after a command, with a made one and a real log file."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.domain.telemetry import Usage
from orchestrator.runtime import job
from orchestrator.runtime.interface import State
from orchestrator.runtime.job import Limits, until_ended


class Scripted:
    """Writes a piece of its log before each look, and then has ended; None never ends."""

    def __init__(self, log_path: Path, *pieces: str, ends: bool = True, memory: tuple[int, ...] = ()) -> None:
        self._log_path = log_path
        self._pieces = list(pieces)
        self._ends = ends
        self._memory = list(memory)

    def state(self) -> State:
        with self._log_path.open("a") as log:
            log.write(self._pieces.pop(0) if self._pieces else "")
        running = bool(self._pieces) or not self._ends
        return State(running=running, exit_code=None if running else 0)

    def usage(self) -> Usage | None:
        return Usage(1.0, self._memory.pop(0), 1) if self._memory else None


@pytest.fixture
def log_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(job, "POLL_S", 0.01)
    return tmp_path / "log"


def test_the_newest_whole_line_is_heard(log_path: Path) -> None:
    """One for each look: half a line waits for its other half, a progress bar's states are lines."""
    said: list[str] = []
    command = Scripted(log_path, "one\ntwo\nth", "ree\n", "", "1 %\r2 %\r", "\n\n", "the end")
    until_ended(command, log_path, Limits(), said.append, lambda: None)

    assert ["two", "three", "2 %", "the end"] == said


def test_bytes_that_are_no_text_do_not_end_it(log_path: Path) -> None:
    """A tool may print anything."""
    log_path.write_bytes(b"\xff\xfe\n")
    said: list[str] = []
    until_ended(Scripted(log_path, ""), log_path, Limits(), said.append, lambda: None)

    assert ["\ufffd\ufffd"] == said


def test_the_most_memory_is_kept(log_path: Path) -> None:
    """What was used in between, not at the end."""
    command = Scripted(log_path, "a", "b", "c", "d", memory=(5, 9, 7))

    assert 9 == until_ended(command, log_path, Limits(), print, lambda: None).peak_memory_bytes


@pytest.mark.parametrize(
    ("limits", "late"),
    [
        (Limits(deadline_s=0.2), "did not end in 0.2 s"),
        (Limits(silence_s=0.1), "made no progress for 0.1 s"),
        (Limits(deadline_s=0.1, silence_s=60), "did not end in 0.1 s"),
    ],
)
def test_a_limit_ends_the_waiting(log_path: Path, limits: Limits, late: str) -> None:
    """It is told in words which; the command still runs then."""
    end = until_ended(Scripted(log_path, "a\n", ends=False), log_path, limits, print, lambda: None)

    assert (True, late) == (end.state.running, end.late)


def test_a_command_that_ended_is_not_late(log_path: Path) -> None:
    """The last look counts, however long the one before it took."""
    end = until_ended(Scripted(log_path, "a"), log_path, Limits(deadline_s=0.0), print, lambda: None)

    assert ("", 0) == (end.late, end.state.exit_code)
