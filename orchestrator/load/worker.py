"""A process of the client's: nothing runs in it but the users' loop, with the garbage collector off.

What else ran in the loop, the collector first, made the error of every client measured
(docs/decisions/0003-load-client-process.md).
"""

from __future__ import annotations

import fcntl
import gc
import os
import resource
import select
import signal
import socket
from contextlib import suppress
from dataclasses import replace
from functools import partial
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from time import perf_counter_ns

from orchestrator.load.arrivals import Arrivals
from orchestrator.load.awake import awake
from orchestrator.load.connection import take_stamps
from orchestrator.load.loop import READ, Loop
from orchestrator.load.spec import Done, Order, Progress, Ready
from orchestrator.load.spool import Writer
from orchestrator.load.stretch import Stretch
from orchestrator.load.users import Users
from orchestrator.runtime.command import die_with_parent

PROGRESS_S = 1.0
SPARE_DESCRIPTORS = 64  # what is open besides the users' connections
GONE = (EOFError, ConnectionError)  # of a pipe whose other end has closed or was killed
KIB = 1024
ORPHANED = signal.SIGUSR1


def main(pipe: Pipe) -> None:
    """Serve orders until the pipe closes. Any other message stops the current one."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # they reach the whole terminal; the parent decides
    signal.signal(ORPHANED, _leave)  # not killed: the core is to be left as it was
    die_with_parent(ORPHANED)
    gc.disable()
    realtime = _take_priority()
    _take_descriptors()
    # the kernel stamps only while somebody asks for it, and takes a moment to begin
    with suppress(*GONE), socket.socket() as stamping:
        take_stamps(stamping)
        while True:
            order = pipe.recv()
            if order is None:
                continue  # a stop that came after the end
            gc.collect()
            gc.freeze()
            pipe.send(_load(order, pipe, realtime=realtime))


def _load(order: Order, pipe: Pipe, *, realtime: bool) -> Done:
    core = _pin(order.shard) if realtime else None
    with awake(core) as kept_awake:
        try:
            done = _run(order, pipe)
        finally:
            signal.signal(ORPHANED, signal.SIG_IGN)  # what was set is put back in one piece
    signal.signal(ORPHANED, _leave)
    return replace(done, realtime=realtime, awake=kept_awake)


def _run(order: Order, pipe: Pipe) -> Done:
    _make_room(len(order.users) + SPARE_DESCRIPTORS)
    before_s = _cpu_s()
    loop = Loop()
    spool = Writer(order.folder, loop.at_leisure)
    kind = Users if order.spec.due_ns is None else Arrivals
    users = kind(order, loop, spool)
    loop.watch(pipe.fileno(), READ, partial(_on_message, loop, pipe))
    try:
        pipe.send(Ready())
        start_ns = pipe.recv()
        if start_ns is None:  # stopped before it began
            start_ns = perf_counter_ns()
            loop.stop()
        _Ticker(start_ns, loop, users, pipe, spool).begin()
        end_ns = users.run(start_ns)
    finally:
        spool.close()
        loop.close()
    return Done(
        start_ns=start_ns,
        end_ns=end_ns,
        cpu_s=_cpu_s() - before_s,
        memory_bytes=_memory_bytes(),
        late_s=tuple(users.late_s),
        held=users.held,
    )


def _leave(*_: object) -> None:
    raise SystemExit(1)


def _on_message(loop: Loop, pipe: Pipe) -> None:
    try:
        pipe.recv()
    except GONE:
        loop.forget(pipe.fileno())  # the orchestrator is gone: end as if stopped
    loop.stop()


class _Ticker:
    """Once a second: what has been read goes to the file, and the state of the load to the orchestrator."""

    def __init__(self, start_ns: int, loop: Loop, users: Stretch, pipe: Pipe, spool: Writer) -> None:
        self._start_ns = self._due_ns = start_ns
        self._loop = loop
        self._users = users
        self._pipe = pipe
        self._spool = spool

    def begin(self) -> None:
        self._due_ns += round(PROGRESS_S * 1e9)
        self._loop.at(self._due_ns, self._tick)

    def _tick(self) -> None:
        self._spool.flush()
        elapsed_s = (perf_counter_ns() - self._start_ns) / 1e9
        users = self._users
        # an orchestrator that stands still (Ctrl-Z) reads nothing; we must not wait for it
        if select.select([], [self._pipe], [], 0)[1]:
            with suppress(*GONE):
                self._pipe.send(
                    Progress(elapsed_s, users=users.present, ended=users.ended, reads=self._spool.reads)
                )
        self.begin()


def _make_room(descriptors: int) -> None:
    """Let the table of descriptors grow before the load. The kernel doubles it as they are opened, and where
    another thread shares it waits for all cores: 5 to 16 ms in the middle of the ramp."""
    with suppress(OSError), socket.socket() as any_one:
        os.close(fcntl.fcntl(any_one, fcntl.F_DUPFD, descriptors))


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _memory_bytes() -> int:
    """The most memory that this process has had; getrusage would tell that of our parent, before exec."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) * KIB


def _pin(shard: int) -> int:
    """Stay on one core, from the last one down: the first ones tend to serve interrupts."""
    cores = sorted(_CORES, reverse=True)
    core = cores[shard % len(cores)]
    os.sched_setaffinity(0, {core})
    return core


def _take_priority() -> bool:
    """Ask for the lowest real-time priority: the client sleeps nearly always, and must wake in time.

    Beside an engine that fills every core it otherwise woke up to 460 ms late (docs/decisions/0003).
    Without the right to it (root or CAP_SYS_NICE) the client goes on as it is, and says so.
    """
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    except (PermissionError, AttributeError):
        return False
    return True


def _take_descriptors() -> None:
    """As many connections as the host lets us have: many shells begin with a thousand."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


_CORES = os.sched_getaffinity(0)
