"""The shared load client as the orchestrator sees it: processes of its own, driven through pipes.

While the load runs, this side reads what they spool and turns ended replies into exchanges.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from multiprocessing.connection import wait
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory
from time import perf_counter_ns
from types import ModuleType, TracebackType

import numpy as np
from typing_extensions import Self

from backends.contract import Dialect
from orchestrator.domain.exchange import UNSTAMPED, Exchange
from orchestrator.errors import CellError
from orchestrator.host.scratch import owned_prefix
from orchestrator.load.dialects import exchange
from orchestrator.load.kept import Kept
from orchestrator.load.replies import Assembly
from orchestrator.load.spec import Done, LoadSpec, Order, Progress, Ready, Reply
from orchestrator.load.spool import Reader
from orchestrator.load.worker import main

POLL_S = 0.2
BEGIN_S = 0.02  # until the common start of all processes
STOP_S = 10.0
SILENT_S = 20.0  # twenty times the beat of its messages
RECENT_S = 5.0
POOL = "OPENBLAS_NUM_THREADS"


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
    """What a stretch of load came to, and what the client says of itself.

    CPU seconds and memory are those of its busiest and of its largest process; `clock_steps` says how often
    the host's clock was set meanwhile, `held` how many requests of an open loop were due while no more might be in
    flight.
    """

    exchanges: list[Exchange]
    start_ns: int
    end_ns: int
    client_cpu_s: float
    client_late_s: tuple[float, ...]
    client_realtime: bool
    client_memory_bytes: int = 0
    client_awake: bool = False
    clock_steps: int = 0
    held: int = 0


@dataclass(slots=True)
class _Share:
    """One process's part of a stretch: its spool, and what it has said last."""

    reader: Reader
    assembly: Assembly = field(default_factory=Assembly)
    progress: Progress = field(default_factory=lambda: Progress(0.0, users=0, ended=0, reads=0))
    done: Done | None = None


@dataclass(slots=True)
class _Stretch:
    """One running stretch: what has been read of it so far. `recent` are the exchanges that ended in the last 5 s."""

    dialect: Dialect
    shares: list[_Share]
    kept: Kept
    recent: list[Exchange] = field(default_factory=list)
    failed: int = 0
    tokens: int = 0
    reads: int = 0
    ticks: deque[Progress] = field(default_factory=lambda: deque(maxlen=int(RECENT_S) + 1))

    @property
    def over(self) -> bool:
        return all(share.done is not None for share in self.shares)

    def catch_up(self) -> None:
        found = [
            _lagging(exchange(self.dialect, reply), reply)
            for share in self.shares
            for reply in share.assembly.replies(share.reader.entries())
        ]
        self.kept.add(found)
        self.failed += sum(x.outcome.failed for x in found)
        self.tokens += sum(x.tokens for x in found)
        self.reads += sum(x.reads for x in found)
        since_ns = perf_counter_ns() - RECENT_S * 1e9
        self.recent = [x for x in (*self.recent, *found) if x.end_ns >= since_ns]

    def live(self) -> Live:
        """The shares' last words together."""
        words = [share.progress for share in self.shares]
        tick = Progress(
            elapsed_s=max(word.elapsed_s for word in words),
            users=sum(word.users for word in words),
            ended=sum(word.ended for word in words),
            reads=sum(word.reads for word in words),
        )
        self.ticks.append(tick)
        first = self.ticks[0]
        passed_s = tick.elapsed_s - first.elapsed_s
        rate = _per_s(tick.reads - first.reads, passed_s) if passed_s else _per_s(tick.reads, tick.elapsed_s)
        return Live(
            elapsed_s=tick.elapsed_s,
            users=tick.users,
            ended=tick.ended,
            failed=self.failed,
            tokens_per_s=rate * self.tokens / self.reads if self.reads else rate,
            ttft_s=_mean_ttft_s(self.recent),
        )

    def record(self) -> Record:
        done = [share.done for share in self.shares if share.done is not None]
        exchanges = self.kept.all()
        return Record(
            exchanges=sorted(exchanges, key=lambda x: x.end_ns) if len(done) > 1 else exchanges,
            start_ns=min(d.start_ns for d in done),
            end_ns=max(d.end_ns for d in done),
            client_cpu_s=max(d.cpu_s for d in done),
            client_late_s=tuple(late_s for d in done for late_s in d.late_s),
            client_realtime=all(d.realtime for d in done),
            client_memory_bytes=max(d.memory_bytes for d in done),
            client_awake=all(d.awake for d in done),
            clock_steps=max(share.assembly.offsets.steps for share in self.shares),
            held=sum(d.held for d in done),
        )


def _never() -> bool:
    return False


class LoadClient:
    """A context manager around the client's processes. One stretch of load at a time.

    One process carries some 30,000 events a second; with more of them (`shards`) the users are dealt out
    in turn, and each stays on a core of its own.
    """

    def __init__(self, shards: int = 1) -> None:
        context = multiprocessing.get_context("spawn")
        ends = [context.Pipe() for _ in range(shards)]
        self._pipes = [ours for ours, _ in ends]
        self._theirs = [theirs for _, theirs in ends]
        self._processes = [
            context.Process(target=main, args=(theirs,), daemon=True, name=f"levelbench-load-{shard}")
            for shard, theirs in enumerate(self._theirs)
        ]
        self._folder = TemporaryDirectory(prefix=owned_prefix("load"))
        self._stretches = 0

    @property
    def pids(self) -> tuple[int, ...]:
        """Of its processes, once they are started."""
        return tuple(process.pid for process in self._processes if process.pid is not None)

    def __enter__(self) -> Self:
        for process, theirs in zip(self._processes, self._theirs, strict=True):
            with _bare():
                process.start()
            theirs.close()  # so that their end's death is an EOF on ours
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for pipe in self._pipes:
            pipe.close()
        for process in self._processes:
            process.join(STOP_S if kind is None else 1.0)
            if process.is_alive():
                process.kill()
                process.join()
            process.close()
        self._folder.cleanup()

    def run(
        self,
        spec: LoadSpec,
        dialect: Dialect,
        *,
        on_live: Callable[[Live], None],
        watch: Callable[[], None],
        stop: Callable[[], bool] = _never,
    ) -> Record:
        """Run one stretch. `watch` is called a few times a second and may raise to end it at once;
        the client is then stopped and the exception goes on. Once `stop` says so the stretch ends too, and
        what it came to is kept."""
        self._stretches += 1
        shards = min(len(self._pipes), spec.users)  # a process without users has nothing to do
        folders = [Path(self._folder.name, f"{self._stretches}-{shard}") for shard in range(shards)]
        with ExitStack() as stack:
            shares = [_Share(stack.enter_context(closing(Reader(folder)))) for folder in folders]
            kept = Kept(Path(self._folder.name, f"{self._stretches}.kept"))
            stretch = _Stretch(dialect, shares, stack.enter_context(closing(kept)))
            for shard, folder in enumerate(folders):
                folder.mkdir()
                stack.callback(rmtree, folder)
                self._send(shard, Order(spec, shard, shards, folder))
            try:
                self._begin(shards)
                self._follow(stretch, on_live, watch, stop)
            except BaseException:
                self._halt(shards)
                raise
            stretch.catch_up()
            return stretch.record()

    def _follow(
        self,
        stretch: _Stretch,
        on_live: Callable[[Live], None],
        watch: Callable[[], None],
        stop: Callable[[], bool],
    ) -> None:
        # counted in polls: our own sleep (Ctrl-Z, a suspended host) is not the client's silence
        silent_s = dict.fromkeys(range(len(stretch.shares)), 0.0)
        stopped = False
        while not stretch.over:
            watch()
            if not stopped and stop():
                stopped = True
                for shard in silent_s:
                    self._send(shard, None)
            heard = self._listen(stretch, POLL_S)
            for shard in silent_s:
                silent_s[shard] = 0.0 if shard in heard else silent_s[shard] + POLL_S
                if silent_s[shard] >= SILENT_S and stretch.shares[shard].done is None:
                    raise self._silent(shard)
            # one that ended within its first second has said nothing of how it went
            if 0 in heard and not stretch.over and stretch.shares[0].progress.elapsed_s:
                stretch.catch_up()
                on_live(stretch.live())

    def _begin(self, shards: int) -> None:
        """Wait until every process is ready, then let them all begin at once."""
        for shard in range(shards):
            if self._receive(shard, SILENT_S) is None:
                raise self._silent(shard)
        start_ns = perf_counter_ns() + round(BEGIN_S * 1e9)
        for shard in range(shards):
            self._send(shard, start_ns)

    def _listen(self, stretch: _Stretch, timeout_s: float) -> set[int]:
        """Take what the processes say, and tell which of them said something."""
        ready = wait(self._pipes, timeout_s)
        heard = {shard for shard, pipe in enumerate(self._pipes) if pipe in ready}
        for shard in heard:
            message = self._receive(shard)
            if isinstance(message, Done):
                stretch.shares[shard].done = message
            elif isinstance(message, Progress):
                stretch.shares[shard].progress = message
        return heard

    def _halt(self, shards: int) -> None:
        """Stop the current stretch and wait until the client is idle again, or end its processes: a signal may
        have come in the middle of a message, and what follows then is no message."""
        for shard in range(shards):
            self._halt_one(shard)

    def _halt_one(self, shard: int) -> None:
        try:
            self._send(shard, None)
            while not isinstance(self._receive(shard, STOP_S), Done | None):
                pass
        except Exception:  # noqa: BLE001 - whatever half a message makes of unpickling
            self._processes[shard].kill()

    def _send(self, shard: int, message: Order | int | None) -> None:
        try:
            self._pipes[shard].send(message)
        except OSError as error:
            raise self._died(shard) from error

    def _receive(self, shard: int, timeout_s: float = 0.0) -> Ready | Progress | Done | None:
        try:
            if not self._pipes[shard].poll(timeout_s):
                return None
            message: Ready | Progress | Done = self._pipes[shard].recv()
        except (EOFError, OSError) as error:
            raise self._died(shard) from error
        return message

    def _died(self, shard: int) -> CellError:
        process = self._processes[shard]
        process.join(1.0)
        return CellError(
            f"the load client's process died (exit code {process.exitcode})",
            hint="see above for its traceback; a kill by the kernel shows in dmesg",
        )

    def _silent(self, shard: int) -> CellError:
        return CellError(
            f"the load client's process {self._processes[shard].pid} has said nothing for {SILENT_S:.0f} s",
            hint="it was stopped, or this host gave it no time: look at the host's load, then run again",
        )


@contextmanager
def _bare() -> Iterator[None]:
    """A process started here imports the worker, not the program that starts it, and numpy makes it no pool of
    threads. The kernel takes longer over the calls of a process that has several threads."""
    main, threads = sys.modules["__main__"], os.environ.get(POOL)
    sys.modules["__main__"] = ModuleType("__main__")
    os.environ[POOL] = "1"
    try:
        yield
    finally:
        sys.modules["__main__"] = main
        os.environ.pop(POOL)
        if threads is not None:
            os.environ[POOL] = threads


def _lagging(x: Exchange, reply: Reply) -> Exchange:
    """The exchange with what the reply says of the client's own lag."""
    lags_ns = dict(zip(reply.times_ns, reply.lags_ns, strict=True))
    return replace(
        x,
        reads=reply.reads,
        stamped=reply.stamped,
        coalesced=reply.coalesced,
        lag_max_ns=reply.lag_max_ns,
        event_lag_ns=np.array([lags_ns.get(t, UNSTAMPED) for t in x.event_ns.tolist()], np.int64),
    )


def _per_s(count: int, seconds: float) -> float:
    """A first word may come before any time has passed."""
    return count / seconds if seconds > 0 else 0.0


def _mean_ttft_s(exchanges: list[Exchange]) -> float | None:
    """None when the engine fell silent."""
    found = [(x.first_token_ns - x.begin_ns) / 1e9 for x in exchanges if x.first_token_ns]
    return sum(found) / len(found) if found else None
