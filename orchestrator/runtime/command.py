"""Runs a command to its end, line by line, with a deadline; nothing of it is left when we are interrupted."""

from __future__ import annotations

import os
import signal
import subprocess
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from threading import Timer

TAIL_LINES = 30


class CommandError(Exception):
    """A command that failed. `tail` holds its last lines."""

    def __init__(self, argv: tuple[str, ...], exit_code: int, tail: str) -> None:
        super().__init__(f"{argv[0]} ended with {exit_code}")
        self.exit_code = exit_code
        self.tail = tail


def run(
    argv: tuple[str, ...],
    *,
    on_line: Callable[[str], None],
    deadline_s: float,
    env: Mapping[str, str] | None = None,
) -> None:
    """CommandError unless it exits with 0 in time."""
    tail: deque[str] = deque(maxlen=TAIL_LINES)
    with subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=None if env is None else dict(env),
        start_new_session=True,
    ) as process:
        timer = Timer(deadline_s, _kill, (process,))
        timer.start()
        try:
            for line in process.stdout or ():
                tail.append(line.rstrip())
                on_line(line.rstrip())
        except BaseException:
            _kill(process)
            raise
        finally:
            timer.cancel()
    if process.returncode != 0:
        raise CommandError(argv, process.returncode, "\n".join(tail))


def _kill(process: subprocess.Popen[str]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
