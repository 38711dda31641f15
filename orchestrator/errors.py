"""Every error that ends a command, each with what to do next and the exit code.

BenchError
├── RequestError    2  what was asked for: unknown name, impossible pair, bad value
├── HostError       3  the box: no daemon, no disk, port taken; nothing after it may be measured
│   └── NotCleanError  the clean-room gate: something of others, or of an engine gone, is still there
├── CellError       4  this cell: build, start, load; recorded, the run goes on. Also invalid figures
└── NotReproduced   5  a published or an earlier result was not found again
Interrupted       130  Ctrl-C, SIGTERM or SIGHUP, after teardown; no Exception, as KeyboardInterrupt is none
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from backends.contract import FailureCause


class BenchError(Exception):
    """An error that a person will read. `hint` says what to do next."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class RequestError(BenchError):
    exit_code = 2


class HostError(BenchError):
    exit_code = 3


class NotCleanError(HostError):
    """The clean-room gate refused the host."""


class CellError(BenchError):
    """A cell failed. `log_tail` is the engine's last words, captured before teardown."""

    exit_code = 4

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        cause: FailureCause = FailureCause.UNKNOWN,
        log_tail: str = "",
    ) -> None:
        super().__init__(message, hint=hint)
        self.cause = cause
        self.log_tail = log_tail


class NotReproduced(BenchError):  # noqa: N818 - nothing went wrong: it is the answer
    exit_code = 5


class Interrupted(BaseException):
    """A signal, raised wherever the program happens to be: also in the midst of a library that forgives every
    Exception, or cleans up after one what goes on without it (threading does at the start of a thread)."""

    exit_code = 130

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


ENDS = (BenchError, Interrupted)
"""What ends a command, to be shown to a person."""


def unknown(kind: str, name: str, known: Iterable[str]) -> RequestError:
    """The error for a name that is not in a list: the nearest one, then all of them."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
    meant = f" Did you mean {near[0]!r}?" if near else ""
    return RequestError(f"unknown {kind} {name!r}.{meant}", hint=f"known: {', '.join(names)}")
