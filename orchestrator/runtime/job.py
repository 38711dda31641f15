"""Looking after a command until it ends: its log's newest line, its memory, its limits."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from orchestrator.domain.telemetry import Usage
from orchestrator.runtime.interface import JobEnd, Progress, State

FIRST_POLL_S = 0.05
POLL_S = 0.5


class Running(Protocol):
    """A command that has been started."""

    def state(self) -> State: ...

    def usage(self) -> Usage | None: ...


@dataclass(frozen=True, slots=True)
class Limits:
    """After how long in all, or without a word in its log, a command is given up."""

    deadline_s: float | None = None
    silence_s: float | None = None

    def crossed(self, wall_s: float, silent_s: float) -> str:
        """The limit in words; empty while none is crossed."""
        if self.deadline_s is not None and wall_s > self.deadline_s:
            return f"did not end in {self.deadline_s:g} s"
        if self.silence_s is not None and silent_s > self.silence_s:
            return f"made no progress for {self.silence_s:g} s"
        return ""


def until_ended(
    running: Running, log_path: Path, limits: Limits, on_line: Progress, watch: Callable[[], None]
) -> JobEnd:
    """Return when the command has ended or crossed a limit; to end it then is the caller's."""
    log = _Log(log_path)
    began_s = heard_s = time.monotonic()
    poll_s, peak_memory_bytes = FIRST_POLL_S, 0
    while True:
        state = running.state()
        now_s = time.monotonic()
        if (line := log.newest(ended=not state.running)) is not None:
            heard_s = now_s
            on_line(line)
        late = limits.crossed(now_s - began_s, now_s - heard_s) if state.running else ""
        if not state.running or late:
            return JobEnd(state, now_s - began_s, peak_memory_bytes, late)
        watch()
        usage = running.usage()
        peak_memory_bytes = max(peak_memory_bytes, usage.memory_bytes if usage else 0)
        time.sleep(poll_s)
        poll_s = min(poll_s * 2, POLL_S)


class _Log:
    """A log that grows. A progress bar's carriage returns end lines too."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = 0
        self._rest = ""

    def newest(self, *, ended: bool) -> str | None:
        """The last whole line since the look before, if there is one; at the end also one without end."""
        if not self._path.exists():
            return None
        with self._path.open("rb") as file:
            file.seek(self._read)
            data = file.read()
        self._read += len(data)
        *lines, self._rest = re.split(r"[\r\n]", self._rest + data.decode(errors="replace"))
        if ended:
            lines.append(self._rest)
        return next((line for line in reversed(lines) if line.strip()), None)
