"""The reference server: streams tokens on an exact schedule and keeps its own log of when it wrote them.

A process of its own, at real-time priority where it may, so that the log is the truth to measure a client
against: each write is stamped before and after the call that makes it.
"""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import re
import signal
import socket
from array import array
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection as Pipe
from time import perf_counter_ns
from types import TracebackType

from typing_extensions import Self

from orchestrator.load import clock
from orchestrator.load.connection import take_stamps
from orchestrator.load.loop import READ, Loop
from orchestrator.load.spool import CONTROL_BYTES, READ_BYTES, stamp_ns
from orchestrator.runtime.command import die_with_parent

BACKLOG = 4096
MODEL = "reference"
_NS = 1_000_000_000
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_ID = re.compile(rb"\r\nx-request-id: *([^\r]+)", re.IGNORECASE)
_HEAD_END = b"\r\n\r\n"
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Schedule:
    """When the tokens of an answer come, from the arrival of its request on."""

    ttft_s: float = 0.05
    itl_s: float = 1 / 30
    tokens: int = 128

    @property
    def length_s(self) -> float:
        return self.ttft_s + self.itl_s * self.tokens


@dataclass(frozen=True, slots=True)
class Written:
    """One answer by the server's own log, in nanoseconds of CLOCK_MONOTONIC: when its request came, and
    before and after the write of each token."""

    arrival_ns: int
    before_ns: array[int] = field(default_factory=lambda: array("q"))
    after_ns: array[int] = field(default_factory=lambda: array("q"))


Log = dict[str, Written]


class ReferenceServer:
    """Context manager around the server's process; `port` is where it listens on loopback."""

    def __init__(self, schedule: Schedule) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, self._theirs = context.Pipe()
        self._process = context.Process(
            target=_main, args=(self._theirs, schedule), daemon=True, name="levelbench-reference"
        )
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._process.start()
        self._theirs.close()
        self.port = self._pipe.recv()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pipe.close()
        self._process.join(5.0)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._process.close()

    def take_log(self) -> Log:
        """What was written since the last time, by request id; what is being written stays for the next."""
        self._pipe.send(None)
        log: Log = self._pipe.recv()
        return log


def _main(pipe: Pipe, schedule: Schedule) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with_parent()
    gc.disable()
    with suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # the client's processes begin at the last
    loop = Loop()
    log: Log = {}
    listener = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
    listener.setblocking(False)
    loop.watch(listener.fileno(), READ, partial(_accept, loop, listener, schedule, log))
    loop.watch(pipe.fileno(), READ, partial(_hand_over, loop, pipe, log))
    pipe.send(listener.getsockname()[1])
    loop.run()
    os._exit(0)  # nothing to tidy up, and what is left is a million timers


def _accept(loop: Loop, listener: socket.socket, schedule: Schedule, log: Log) -> None:
    with suppress(BlockingIOError):
        while True:
            sock, _ = listener.accept()
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            take_stamps(sock)
            loop.watch(sock.fileno(), READ, _Stream(loop, sock, schedule, log).on_readable)


def _hand_over(loop: Loop, pipe: Pipe, log: Log) -> None:
    try:
        pipe.recv()
        pipe.send(log)
    except (EOFError, ConnectionError):
        loop.stop()
    log.clear()


class _Stream:
    """One connection: reads a request, answers it on schedule, reads the next."""

    def __init__(self, loop: Loop, sock: socket.socket, schedule: Schedule, log: Log) -> None:
        self._loop = loop
        self._sock = sock
        self._schedule = schedule
        self._log = log
        self._offsets = clock.Offsets()
        self._got = b""
        self._served = 0
        self._token = _CHAT
        self._id = ""
        self._written = Written(0)
        self._next = 0

    def on_readable(self) -> None:
        try:
            data, control, _, _ = self._sock.recvmsg(READ_BYTES, CONTROL_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data, control = b"", []
        if not data:
            self._close()
            return
        now_ns = self._arrival_ns(perf_counter_ns(), control)
        self._got += data
        request, separator, rest = self._got.partition(_HEAD_END)
        length = _LENGTH.search(request)
        size = int(length[1]) if length else 0
        if separator and len(rest) >= size:
            self._got = rest[size:]
            self._answer(request, now_ns)

    def _arrival_ns(self, read_ns: int, control: list[tuple[int, int, bytes]]) -> int:
        """The kernel's stamp of a read; the time of the read where it gave none."""
        if (found := clock.sample()) is not None:
            self._offsets.add(*found)
        return (self._offsets.arrival_ns(read_ns, stamp_ns(control[0][2])) if control else 0) or read_ns

    def _answer(self, request: bytes, now_ns: int) -> None:
        if not request.startswith(b"POST "):
            self._write(_MODELS)
            return
        named = _ID.search(request)
        self._served += 1
        self._id = named[1].decode() if named else f"{self._sock.fileno()}-{now_ns}"
        self._token = _TEXT if request.split(b" ", 2)[1].endswith(b"/v1/completions") else _CHAT
        self._written, self._next = Written(now_ns), 0
        self._write(_HEAD)
        self._later()

    def _later(self) -> None:
        due_s = self._schedule.ttft_s + self._schedule.itl_s * self._next
        self._loop.at(self._written.arrival_ns + round(due_s * _NS), self._step)

    def _step(self) -> None:
        """One token; after the last one, and a gap, the end."""
        if self._sock.fileno() < 0:
            return
        if self._next == self._schedule.tokens:
            self._log[self._id] = self._written
            self._write(_end(self._token, self._schedule.tokens))
            return
        before_ns = perf_counter_ns()
        self._write(self._token)
        self._written.after_ns.append(perf_counter_ns())
        self._written.before_ns.append(before_ns)
        self._next += 1
        self._later()

    def _write(self, data: bytes) -> None:
        try:
            whole = self._sock.send(data) == len(data)
        except OSError:
            whole = False
        if not whole:
            self._close()  # a client that does not read has failed already

    def _close(self) -> None:
        if self._sock.fileno() >= 0:
            self._loop.forget(self._sock.fileno())
            self._sock.close()
            if self._written.before_ns:
                self._log.setdefault(self._id, self._written)


def _chunk(event: dict[str, object] | str) -> bytes:
    text = event if isinstance(event, str) else json.dumps(event, separators=(",", ":"))
    data = f"data: {text}\n\n".encode()
    return b"%x\r\n%s\r\n" % (len(data), data)


def _event(**choice: object) -> dict[str, object]:
    """As long as an engine's."""
    return {
        "id": f"chatcmpl-{0:032x}",
        "object": "chat.completion.chunk",
        "created": 1732320000,
        "model": MODEL,
        "choices": [{"index": 0, "logprobs": None, "finish_reason": None, **choice}],
    }


def _end(token: bytes, tokens: int) -> bytes:
    """Finish reason, usage, [DONE] and the last chunk, at once."""
    last: dict[str, object] = {"text": ""} if token is _TEXT else {"delta": {}}
    usage = {"prompt_tokens": 1, "completion_tokens": tokens, "total_tokens": tokens + 1}
    counted = {**_event(), "choices": [], "usage": usage}
    finish = _chunk(_event(**last, finish_reason="length"))
    return finish + _chunk(counted) + _chunk("[DONE]") + b"0\r\n\r\n"


_CHAT = _chunk(_event(delta={"content": " token"}))
_TEXT = _chunk(_event(text=" token"))
_LIST = json.dumps({"object": "list", "data": [{"id": MODEL, "object": "model", "owned_by": "levelbench"}]})
_MODELS = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(_LIST)}\r\n\r\n{_LIST}".encode()
