"""Ctrl-C, SIGTERM and a closed terminal: the first signal ends the run by an exception, none skips a teardown."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from orchestrator.errors import Interrupted

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupts:
    """Turns signals into Interrupted, once, and never inside `deferred()`.

    While deferred (an engine coming up or going down), a signal is noted and raised at the end of the
    block: so that what has been started is always known, and what is being removed is removed.
    """

    def __init__(
        self, say: Callable[[str], None], *, ending: str = "stopping; the engine is taken down first"
    ) -> None:
        self._say = say
        self._ending = ending
        self._saying = ""
        self._depth = 0
        self._pending: str | None = None
        self._raised = False

    @contextmanager
    def installed(self) -> Iterator[None]:
        before = {number: signal.signal(number, self._on_signal) for number in SIGNALS if _is_wanted(number)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @property
    def pending(self) -> bool:
        """Whether a signal waits for the end of a deferred block."""
        return self._pending is not None

    @contextmanager
    def deferred(self, saying: str = "stopping as soon as it is known what runs") -> Iterator[None]:
        self._saying = saying
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
        if self._depth == 0 and self._pending is not None:
            self._raise(self._pending)

    def check(self) -> None:
        """Raise what was noted: for long work inside `deferred()` that can be ended in good order."""
        if self._pending is not None:
            self._raise(self._pending)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        if self._raised:
            self._tell(f"{name}: teardown is under way and will not be skipped; it takes a few seconds")
        elif self._depth:
            self._pending = name
            self._tell(f"{name}: {self._saying}")
        else:
            self._raise(name)

    def _raise(self, name: str) -> None:
        self._pending = None
        self._raised = True
        self._tell(f"{name}: {self._ending}")
        raise Interrupted(f"interrupted by {name}", hint="what had finished stands in the run folder")

    def _tell(self, text: str) -> None:
        """Told if it can be: a handler runs in the middle of anything, also of a write to the same stream, which
        then refuses to be entered again, and the terminal may be what has gone."""
        with suppress(OSError, RuntimeError):
            self._say(text)


def _is_wanted(number: signal.Signals) -> bool:
    """Whoever started us with `nohup` wants a closed terminal to be passed over."""
    return number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN
