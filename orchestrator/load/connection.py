"""One HTTP/1.1 connection to the engine, made for measuring: a read is stamped by the kernel and by us, and
kept as it came. One request at a time.

All that is asked of the bytes here is whether the response ends with them, which C code tells in 0.1 us.
"""

from __future__ import annotations

import os
import socket
from collections import deque
from collections.abc import Callable, Sequence
from time import perf_counter_ns
from typing import Any

from orchestrator.domain.exchange import Outcome
from orchestrator.load.framing import Framing
from orchestrator.load.loop import READ, WRITE, Loop
from orchestrator.load.spec import Reply
from orchestrator.load.spool import Writer

SO_TIMESTAMPNS = 35  # asm-generic/socket.h; the socket module does not name it
# A close that crossed our request comes within the server's own delay; a later one is its answer to it.
CROSSED_S = 1.0
TAIL_READS = 4  # an error event, and what may end the stream after it
ERROR_SIGN = b'"error"'  # stands in every error event

Address = tuple[int, Any]  # family, and what connect() takes


def take_stamps(sock: socket.socket) -> None:
    """Ask the kernel to stamp what this socket receives. Where it refuses, reads come without."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    except OSError:
        return


class Connection:
    """Sends requests and spools their replies. `on_end` is called when the reply at hand has ended,
    `on_unsent` when a kept connection turns out to have been closed by the server before our request."""

    def __init__(
        self,
        loop: Loop,
        spool: Writer,
        *,
        kernel_stamps: bool,
        on_end: Callable[[], None],
        on_unsent: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._spool = spool
        self._receive = spool.receive
        self._kernel_stamps = kernel_stamps
        self._on_end = on_end
        self._on_unsent = on_unsent
        self._sock: socket.socket | None = None
        self._addresses: list[Address] = []
        self._reply: Reply | None = None
        self._number = 0
        self._request = memoryview(b"")
        self._framing = Framing()
        self._tail: deque[bytearray] = deque(maxlen=TAIL_READS)
        self._waiting = False
        self._uses = 0
        self.last_ns = 0

    @property
    def connecting(self) -> bool:
        """Whether the exchange at hand still waits for its connection."""
        return self._reply is not None and self._waiting

    @property
    def tail(self) -> bytes:
        """The last reads of the reply, from the last one on that may be an error event: to keep four of every stream,
        which drives everything else out of the core's cache, costs half a microsecond per event. A sign that is cut in two
        is not seen here."""
        return b"".join(self._tail)

    def exchange(self, number: int, reply: Reply, request: bytes, addresses: Sequence[Address]) -> None:
        """Send a request, over a fresh connection if none is kept. What comes is spooled under `number`."""
        self._number, self._reply, self._request = number, reply, memoryview(request)
        self._framing = Framing()
        self._tail.clear()
        self.last_ns = reply.send_ns = perf_counter_ns()
        if self._sock is not None:
            self._send()
            return
        reply.connects += 1
        self._uses = 0
        self._addresses = list(addresses)
        self._connect("the host's name has no address")

    def fail(self, outcome: Outcome, detail: str) -> None:
        """End the exchange at hand from outside (cut, stall, timeout) and close the connection."""
        self._end(outcome, detail, perf_counter_ns())

    def close(self) -> None:
        if self._sock is not None:
            self._loop.forget(self._sock.fileno())
            self._sock.close()
            self._sock = None

    def _connect(self, failure: str) -> None:
        """Try the addresses in turn."""
        while self._addresses:
            family, address = self._addresses.pop(0)
            try:
                sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            except OSError as error:  # no descriptor is left
                failure = str(error)
                continue
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._kernel_stamps:
                take_stamps(sock)
            try:
                sock.connect(address)
            except BlockingIOError:
                pass
            except OSError as error:
                sock.close()
                failure = str(error)
                continue
            self._sock, self._waiting = sock, True
            self._loop.watch(sock.fileno(), WRITE, self._on_connected)
            return
        self._end(Outcome.CONNECT, failure, perf_counter_ns())

    def _on_connected(self) -> None:
        if self._sock is None:
            return
        error = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            self.close()
            self._connect(os.strerror(error))
            return
        self._waiting = False
        self._loop.change(self._sock.fileno(), READ, self._on_readable)
        self._send()

    def _send(self) -> None:
        """Hand over what the kernel takes. The request is sent with the call that takes its last byte; that
        call may return later than the answer comes, so it is stamped before."""
        sock, reply = self._sock, self._reply
        if sock is None or reply is None:
            return
        reply.send_ns = self.last_ns = perf_counter_ns()
        try:
            self._request = self._request[sock.send(self._request) :]
        except BlockingIOError:
            pass
        except OSError as error:
            self._lost(str(error))
            return
        if self._request:
            self._loop.change(sock.fileno(), READ | WRITE, self._on_sending)

    def _on_sending(self) -> None:
        """The kernel takes more of a large request, or the server answers before it is whole."""
        self._send()
        if self._sock is None:
            return
        if not self._request:
            self._loop.change(self._sock.fileno(), READ, self._on_readable)
        self._on_readable()

    def _on_readable(self) -> None:
        """The one place that runs for every event."""
        sock = self._sock
        if sock is None:
            return
        if self._reply is None:
            self.close()  # ended by the server, or bytes that nobody asked for: of no further use
            return
        try:
            now_ns, data = self._receive(self._number, sock.recvmsg_into)
        except BlockingIOError:
            return
        except OSError as error:
            self._lost(str(error))
            return
        if not data:
            self._lost("")
            return
        self.last_ns = now_ns
        if self._tail or data.rfind(ERROR_SIGN) >= 0:
            self._tail.append(data)
        wrong = self._framing.feed(data)
        if wrong:
            self._end(Outcome.MALFORMED, wrong, now_ns)
        elif self._framing.complete:
            self._end(Outcome.OK, "", now_ns)

    def _lost(self, failure: str) -> None:
        """The connection has ended: well, by the server before it saw our request, or within the reply."""
        if self._reply is None:
            return
        framing, now_ns = self._framing, perf_counter_ns()
        if framing.status and not (framing.chunked or framing.sized or failure):
            self._end(Outcome.OK, "", now_ns)  # a body without length ends with the connection
        elif self._uses and not framing.begun and now_ns - self._reply.send_ns < CROSSED_S * 1e9:
            self.close()
            self._on_unsent()
        else:
            self._end(Outcome.DISCONNECT, failure or "connection closed within the reply", now_ns)

    def _end(self, outcome: Outcome, detail: str, now_ns: int) -> None:
        reply, self._reply = self._reply, None
        if reply is None:
            return
        reply.outcome, reply.detail, reply.end_ns = outcome, detail, now_ns
        reply.status = self._framing.status
        self._framing.release()
        self._uses += 1
        if outcome is not Outcome.OK or not self._framing.keep or self._request:
            self.close()  # the server may leave it to us
        self._spool.end(self._number, reply)
        self._on_end()
