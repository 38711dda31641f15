"""The shared load client as the orchestrator sees it: a process of its own, driven through a pipe.

While the load runs, this side reads ended replies from the spool and turns them into exchanges.
"""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter_ns
from types import TracebackType
from typing import BinaryIO

from typing_extensions import Self

from backends.contract import Dialect
from orchestrator.domain.exchange import Exchange
from orchestrator.errors import CellError
from orchestrator.load.dialects import exchange
from orchestrator.load.spec import Done, LoadSpec, Progress
from orchestrator.load.spool import read
from orchestrator.load.worker import main

POLL_S = 0.2
STOP_S = 10.0
SILENT_S = 20.0  # twenty times the beat of its messages
RECENT_S = 5.0


@dataclass(frozen=True, slots=True)
class Live:
    """The state of a running load, over the last 5 s. `tokens_per_s` counts the chunks that came and
    takes from the ended exchanges how many tokens a chunk holds; results count tokens exactly."""

    elapsed_s: float
    users: int
    ended: int
    failed: int
    tokens_per_s: float
    ttft_s: float | None


@dataclass(frozen=True, slots=True)
class Record:
    """What a stretch of load came to."""

    exchanges: list[Exchange]
    start_ns: int
    end_ns: int
    client_cpu_s: float
    client_late_s: tuple[float, ...]
    client_realtime: bool


@dataclass(slots=True)
class _Stretch:
    """One running stretch: what has been read of it so far."""

    dialect: Dialect
    spool: BinaryIO
    exchanges: list[Exchange] = field(default_factory=list)
    tokens: int = 0
    pieces: int = 0
    ticks: deque[Progress] = field(default_factory=lambda: deque(maxlen=int(RECENT_S) + 1))

    def catch_up(self) -> None:
        for reply in read(self.spool):
            self.exchanges.append(exchange(self.dialect, reply))
            self.tokens += self.exchanges[-1].tokens
            self.pieces += len(reply.pieces)

    def live(self, tick: Progress) -> Live:
        self.ticks.append(tick)
        first = self.ticks[0]
        passed_s = tick.elapsed_s - first.elapsed_s
        rate = (tick.pieces - first.pieces) / passed_s if passed_s else tick.pieces / tick.elapsed_s
        return Live(
            elapsed_s=tick.elapsed_s,
            users=tick.users,
            ended=tick.ended,
            failed=sum(x.outcome.failed for x in self.exchanges),
            tokens_per_s=rate * self.tokens / self.pieces if self.pieces else rate,
            ttft_s=_recent_ttft_s(self.exchanges, perf_counter_ns()),
        )


class LoadClient:
    """A context manager around the client's process. One stretch of load at a time."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, self._theirs = context.Pipe()
        self._process = context.Process(
            target=main, args=(self._theirs,), daemon=True, name="levelbench-load"
        )
        self._folder = TemporaryDirectory(prefix="levelbench-load-")
        self._stretches = 0

    @property
    def pid(self) -> int | None:
        return self._process.pid

    def __enter__(self) -> Self:
        self._process.start()
        self._theirs.close()  # so that their end's death is an EOF on ours
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pipe.close()
        self._process.join(STOP_S if kind is None else 1.0)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._process.close()
        self._folder.cleanup()

    def run(
        self,
        spec: LoadSpec,
        dialect: Dialect,
        *,
        on_live: Callable[[Live], None],
        watch: Callable[[], None],
    ) -> Record:
        """Run one stretch. `watch` is called a few times a second and may raise to end it at once;
        the client is then stopped and the exception goes on."""
        self._stretches += 1
        path = Path(self._folder.name) / f"{self._stretches}.spool"
        path.touch()
        self._send((spec, path))
        with path.open("rb") as spool:
            stretch = _Stretch(dialect, spool)
            try:
                done = self._follow(stretch, on_live, watch)
            except BaseException:
                self._halt()
                raise
            stretch.catch_up()
        path.unlink()
        return Record(
            exchanges=stretch.exchanges,
            start_ns=done.start_ns,
            end_ns=done.end_ns,
            client_cpu_s=done.cpu_s,
            client_late_s=done.late_s,
            client_realtime=done.realtime,
        )

    def _follow(self, stretch: _Stretch, on_live: Callable[[Live], None], watch: Callable[[], None]) -> Done:
        silent_s = (
            0.0  # counted in polls: our own sleep (Ctrl-Z, a suspended host) is not the client's silence
        )
        while silent_s < SILENT_S:
            watch()
            message = self._receive(POLL_S)
            silent_s = silent_s + POLL_S if message is None else 0.0
            if isinstance(message, Done):
                return message
            if message is not None:
                stretch.catch_up()
                on_live(stretch.live(message))
        raise CellError(
            f"the load client's process {self.pid} has said nothing for {SILENT_S:.0f} s",
            hint="it was stopped, or this host gave it no time: look at the host's load, then run again",
        )

    def _halt(self) -> None:
        """Stop the current stretch and wait until the client is idle again, or end its process: a signal may
        have come in the middle of a message, and what follows then is no message."""
        try:
            self._send(None)
            while not isinstance(self._receive(STOP_S), Done | None):
                pass
        except Exception:  # noqa: BLE001 - whatever half a message makes of unpickling
            self._process.kill()

    def _send(self, message: object) -> None:
        try:
            self._pipe.send(message)
        except OSError as error:
            raise self._died() from error

    def _receive(self, timeout_s: float) -> Progress | Done | None:
        try:
            if not self._pipe.poll(timeout_s):
                return None
            message: Progress | Done = self._pipe.recv()
        except (EOFError, OSError) as error:
            raise self._died() from error
        return message

    def _died(self) -> CellError:
        self._process.join(1.0)
        return CellError(
            f"the load client's process died (exit code {self._process.exitcode})",
            hint="see above for its traceback; a kill by the kernel shows in dmesg",
        )


def _recent_ttft_s(exchanges: list[Exchange], now_ns: int) -> float | None:
    """Mean TTFT of the exchanges that ended within the last 5 s; None when the engine fell silent."""
    since_ns = now_ns - RECENT_S * 1e9
    recent: list[float] = []
    for x in reversed(exchanges):
        if x.end_ns < since_ns:
            break
        if x.first_token_ns:
            recent.append((x.first_token_ns - x.send_ns) / 1e9)
    return sum(recent) / len(recent) if recent else None
