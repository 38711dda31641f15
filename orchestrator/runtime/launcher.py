"""The parent of an engine that runs as a process: what `docker run --init` is to a container.

Started as a script of its own; its arguments are the orchestrator's pid, ulimits and CPUs as JSON, and
the engine's argv. It passes signals on, adopts every orphan that the engine leaves, ends them all when the engine ends,
and ends everything at once when the orchestrator is gone: engines start workers that wipe their environment
and outlive their parent, which nobody could find afterwards. Its exit code is the engine's (128+n for signal
n).
Standard library only: it is run isolated from every venv.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import FrameType

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
CANNOT_START = 127
POLL_S = 0.005
PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def main(orchestrator_pid: int, limits: dict[str, int], cpus: list[int], argv: list[str]) -> int:
    """The engine's exit code, once nothing of it is left."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    signal.signal(signal.SIGUSR1, _abandon)
    _prctl(PR_SET_PDEATHSIG, signal.SIGUSR1)
    if os.getppid() != orchestrator_pid:
        return CANNOT_START  # it died before the kernel knew whom to tell
    for name, value in limits.items():
        _limit(getattr(resource, f"RLIMIT_{name.upper()}"), value)
    if cpus:
        os.sched_setaffinity(0, cpus)
    try:
        engine = subprocess.Popen(argv, preexec_fn=_die_with_launcher)  # noqa: PLW1509 - one thread only
    except OSError as error:
        print(f"cannot start {argv[0]}: {error.strerror}", file=sys.stderr, flush=True)  # noqa: T201
        return CANNOT_START
    for number in PASSED_ON:
        signal.signal(number, lambda received, _frame: _pass_on(engine.pid, received))
    code = _wait(engine)
    kill_descendants()
    return code


def kill_descendants() -> None:
    """Until none is left: orphans come to this process, so that its children are all there is in the end."""
    while children := _children():
        for pid in children:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(POLL_S)
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def _limit(kind: int, value: int) -> None:
    """As far as this user may: -1 is as much as there is."""
    hard = resource.getrlimit(kind)[1]
    wanted = value if hard == resource.RLIM_INFINITY or 0 <= value <= hard else hard
    resource.setrlimit(kind, (wanted, hard))


def _wait(engine: subprocess.Popen[bytes]) -> int:
    """Reaps adopted orphans too, so that none stays a zombie while the engine runs."""
    while True:
        pid, status = os.waitpid(-1, 0)
        if pid == engine.pid:
            engine.returncode = os.waitstatus_to_exitcode(status)
            return engine.returncode if engine.returncode >= 0 else 128 - engine.returncode


def _children() -> list[int]:
    return [int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]


def _pass_on(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _abandon(_number: int, _frame: FrameType | None) -> None:
    kill_descendants()
    os._exit(128 + signal.SIGKILL)


def _die_with_launcher() -> None:
    """Should the launcher itself be killed."""
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _prctl(option: int, value: int) -> None:
    ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), json.loads(sys.argv[2]), json.loads(sys.argv[3]), sys.argv[4:]))
