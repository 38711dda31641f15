"""Runs a command to its end, line by line, with a deadline; nothing of it is left when we are interrupted."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from threading import Event, Timer

TAIL_LINES = 30
PR_SET_PDEATHSIG = 1


class CommandError(Exception):
    """A command that failed. `tail` holds its last lines, `late` says that its deadline ended it."""

    def __init__(self, message: str, exit_code: int, tail: str, *, late: bool = False) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.tail = tail
        self.late = late


def run(
    argv: tuple[str, ...],
    *,
    on_line: Callable[[str], None],
    deadline_s: float,
    env: Mapping[str, str] | None = None,
) -> None:
    """CommandError unless it exits with 0 in time."""
    tail: deque[str] = deque(maxlen=TAIL_LINES)
    late = Event()
    with _started(argv, env) as process:
        timer = Timer(deadline_s, _end_late, (process, late))
        timer.start()
        try:
            for line in process.stdout or ():
                tail.append(line.rstrip())
                on_line(line.rstrip())
            process.wait()  # under the deadline too: a command may close its output and stay
        except BaseException:
            _kill(process)
            raise
        finally:
            timer.cancel()
    if process.returncode != 0:
        how = f"took longer than {deadline_s:g} s" if late.is_set() else f"ended with {process.returncode}"
        raise CommandError(f"{argv[0]} {how}", process.returncode, "\n".join(tail), late=late.is_set())


def output(argv: tuple[str, ...], *, stdin: str = "", deadline_s: float) -> str:
    """What a short command writes, given what it reads; CommandError, with its complaint, unless it exits with 0
    in time."""
    try:
        done = subprocess.run(
            argv,
            input=stdin,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=deadline_s,
            check=False,
            start_new_session=True,  # a Ctrl-C is for us: what was begun is ended in order
        )
    except FileNotFoundError as error:
        raise CommandError(f"{argv[0]} is not installed", 127, f"{argv[0]}: command not found") from error
    except subprocess.TimeoutExpired as error:
        raise CommandError(f"{argv[0]} took longer than {deadline_s:g} s", -1, "", late=True) from error
    if done.returncode != 0:
        tail = "\n".join((done.stderr or done.stdout).splitlines()[-TAIL_LINES:])
        raise CommandError(f"{argv[0]} ended with {done.returncode}", done.returncode, tail)
    return done.stdout


def die_with_parent(number: signal.Signals = signal.SIGKILL) -> None:
    """Ask the kernel for this signal when the thread that starts this process ends, however it does (prctl(2)).

    To be called between fork and exec; so whatever lives long must be started by the main thread.
    """
    _prctl(PR_SET_PDEATHSIG, number)


def _started(argv: tuple[str, ...], env: Mapping[str, str] | None) -> subprocess.Popen[str]:
    return subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=None if env is None else dict(env),
        start_new_session=True,
        preexec_fn=die_with_parent,  # noqa: PLW1509 - one prctl, no lock is taken
    )


def _end_late(process: subprocess.Popen[str], late: Event) -> None:
    late.set()
    _kill(process)


def _kill(process: subprocess.Popen[str]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


_prctl: Callable[[int, int], int] = ctypes.CDLL(None).prctl
