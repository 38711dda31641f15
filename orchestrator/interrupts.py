"""Ctrl-C, SIGTERM and a closed terminal: the first signal ends the run by an exception, none skips a teardown. And
deadlines, which end what hangs in the same way."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Timer, main_thread
from types import FrameType

from orchestrator.errors import BenchError, Interrupted

# A deadline comes as a signal too: it ends whatever call the main thread waits in
LATE = signal.SIGUSR2
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
        self._late: Callable[[], BenchError] | None = None
        self._is_late = False

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
        if self._depth == 0:
            self.check()

    @contextmanager
    def within(self, limit_s: float | None, late: Callable[[], BenchError]) -> Iterator[None]:
        """Raise what `late` makes once the block has taken so long; inside `deferred()` that is noted, and raised at
        the next check or at the end. Blocks do not nest. To be used by the main thread."""
        if limit_s is None:
            yield
            return
        before = signal.signal(LATE, self._on_late)
        self._late = late
        timer = Timer(limit_s, signal.pthread_kill, (main_thread().ident, LATE))
        timer.daemon = True
        timer.start()
        try:
            yield
            self._raise_late()
        finally:
            self._late, self._is_late = None, False
            timer.cancel()
            timer.join()  # so that no signal comes when its handler has gone
            signal.signal(LATE, before)

    def check(self) -> None:
        """Raise what was noted: for long work inside `deferred()` that can be ended in good order."""
        if self._pending is not None:
            self._raise(self._pending)
        self._raise_late()

    def _on_late(self, _number: int, _frame: FrameType | None) -> None:
        self._is_late = self._late is not None
        if not self._depth and not self._raised:
            self._raise_late()

    def _raise_late(self) -> None:
        """What the deadline has to say, once."""
        late, is_late, self._is_late = self._late, self._is_late, False
        if is_late and late is not None:
            self._late = None
            raise late()

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
