"""What a person sees while a run goes on: phases with their times, and the live line of a load.

On a terminal the live line is rewritten in place; elsewhere a plain line comes every five seconds.
Everything goes to stderr, so that stdout stays for results.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any, TextIO, cast

from rich.console import Console as RichConsole
from rich.live import Live as RichLive
from rich.text import Text

from orchestrator.domain.cell import Load
from orchestrator.errors import BenchError, CellError, Interrupted
from orchestrator.load.client import Live

PLAIN_EVERY_S = 5.0


class Console:
    """One per command. Every method prints; none decides."""

    def __init__(self, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._rich = RichConsole(file=cast("IO[str]", _Lasting(stream or sys.stderr)), highlight=False)
        self._clock = clock
        self._live: RichLive | None = None
        self._plain_due_s = 0.0

    @property
    def is_terminal(self) -> bool:
        return self._rich.is_terminal

    def say(self, text: str, style: str = "") -> None:
        """One line that stays, however long: a path that is broken in two cannot be copied."""
        self._rich.print(Text(text, style=style), soft_wrap=True)

    def error(self, error: BenchError | Interrupted) -> None:
        """What was wrong and what to do next; a cell's log tail before it."""
        if isinstance(error, CellError) and error.log_tail:
            self.say("    the last lines:", "dim")
            for line in error.log_tail.splitlines():
                self.say(f"    | {line}", "dim")
        self.say(f"error: {error}", "bold red")
        if error.hint:
            self.say(f"  next: {error.hint}", "yellow")

    @contextmanager
    def phase(self, title: str) -> Iterator[None]:
        """Say that a phase begins, and how long it took at its end."""
        began_s = self._clock()
        self.say(f"  {title} ...")
        try:
            with self._live_line():
                yield
        except Interrupted:
            self.say(f"  {title} stopped after {self._clock() - began_s:.1f} s", "yellow")
            raise
        except BaseException:
            self.say(f"  {title} FAILED after {self._clock() - began_s:.1f} s", "bold red")
            raise
        self.say(f"  {title} done in {self._clock() - began_s:.1f} s", "green")

    def step(self, text: str) -> None:
        """A detail of the phase: the newest one on a terminal, one every five seconds elsewhere."""
        self._rewrite(f"    {text}")

    def show(self, load: Load, total_s: float, live: Live) -> None:
        """The state of a running load."""
        self._rewrite(live_line(load, total_s, live))

    @contextmanager
    def _live_line(self) -> Iterator[None]:
        self._plain_due_s = 0.0
        if not self.is_terminal:
            yield
            return
        with RichLive(console=self._rich, refresh_per_second=4, transient=True) as live:
            self._live = live
            try:
                yield
            finally:
                self._live = None

    def _rewrite(self, line: str) -> None:
        if self._live is not None:
            self._live.update(Text(line, style="dim", no_wrap=True, overflow="ellipsis"))
        elif self._clock() >= self._plain_due_s:
            self._plain_due_s = self._clock() + PLAIN_EVERY_S
            self.say(line)


class _Lasting:
    """A stream whose reader may go away (a terminal that closes, `| head`): what is said then is lost, and
    what is being done goes on, a teardown first of all."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()


def live_line(load: Load, total_s: float, live: Live) -> str:
    """Time, users that take part (of an open loop: requests in flight), requests, tokens and TTFT over the last 5 s,
    errors, time left."""
    who = f"users {live.users}/{load.users}" if load.arrivals is None else f"in flight {live.users}"
    ttft = "-" if live.ttft_s is None else f"{live.ttft_s * 1e3:.0f} ms"
    left_s = max(0.0, total_s - live.elapsed_s)
    return (
        f"    {live.elapsed_s:4.0f} s  {who}  requests {live.ended}  "
        f"{live.tokens_per_s:.0f} tok/s  TTFT {ttft}  errors {live.failed}  {left_s:.0f} s left"
    )
