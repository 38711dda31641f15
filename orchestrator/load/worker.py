"""The client's own process: nothing runs in it but the users' loop, with the garbage collector off.

What else ran in the loop, the collector first, made the error of every client measured
(docs/decisions/0003-load-client-process.md).
"""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import signal
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection as Pipe
from pathlib import Path

import uvloop

from orchestrator.load.spec import Done, LoadSpec, Progress, Reply
from orchestrator.load.spool import encode
from orchestrator.load.users import Users
from orchestrator.runtime.command import die_with_parent

PROGRESS_S = 1.0
GONE = (EOFError, ConnectionError)  # of a pipe whose other end has closed or was killed


def main(pipe: Pipe) -> None:
    """Serve (spec, spool path) orders until the pipe closes. Any other message stops the current one."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # they reach the whole terminal; the parent decides
    die_with_parent()
    gc.disable()
    realtime = _take_priority()
    with suppress(*GONE):
        while True:
            order = pipe.recv()
            if order is None:
                continue  # a stop that came after the end
            spec, spool_path = order
            gc.collect()
            gc.freeze()
            pipe.send(uvloop.run(_load(spec, spool_path, pipe, realtime=realtime)))


async def _load(spec: LoadSpec, spool_path: Path, pipe: Pipe, *, realtime: bool) -> Done:
    loop = asyncio.get_running_loop()
    before_s = _cpu_s()
    with spool_path.open("wb") as spool:

        def keep(reply: Reply) -> None:
            spool.write(encode(reply))

        users = Users(spec, keep)
        loop.add_reader(pipe.fileno(), _on_message, loop, pipe, users)
        ticker = asyncio.create_task(_tick(users, pipe, spool.flush))
        try:
            start_ns, end_ns = await users.run()
        finally:
            ticker.cancel()
            loop.remove_reader(pipe.fileno())
            os.set_blocking(pipe.fileno(), True)  # uvloop's add_reader had made it non-blocking
    return Done(
        start_ns=start_ns,
        end_ns=end_ns,
        cpu_s=_cpu_s() - before_s,
        late_s=tuple(users.late_s),
        realtime=realtime,
    )


def _on_message(loop: asyncio.AbstractEventLoop, pipe: Pipe, users: Users) -> None:
    try:
        pipe.recv()
    except GONE:
        loop.remove_reader(pipe.fileno())  # the orchestrator is gone: end as if stopped
    users.stop()


async def _tick(users: Users, pipe: Pipe, flush: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()
    start_s = loop.time()
    with suppress(*GONE):
        while True:
            await asyncio.sleep(PROGRESS_S)
            flush()
            elapsed_s = loop.time() - start_s
            pipe.send(Progress(elapsed_s, users=users.present, ended=users.ended, pieces=users.pieces))


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


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
