"""One HTTP/1.1 connection to the engine, made for measuring: a read is stamped by the kernel and by us, and
kept as it came. One request at a time.

While a chunked response streams, its bytes are not parsed: only a read that ends like a response (with an
empty line) has what came so far framed truly, by C code and once.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from time import perf_counter_ns
from typing import Any

from orchestrator.domain.exchange import Outcome
from orchestrator.load.framing import Framing
from orchestrator.load.loop import READ, WRITE, Loop
from orchestrator.load.spec import Reply
from orchestrator.load.spool import NO_STAMP, Writer

SO_TIMESTAMPNS = 35  # asm-generic/socket.h; the socket module does not name it
READ_BYTES = 1 << 16
CONTROL_BYTES = socket.CMSG_SPACE(16)
# A close that crossed our request comes within the server's own delay; a later one is its answer to it.
CROSSED_S = 1.0
UNPARSED_READS = 256  # bounds what a long stream holds in memory
TAIL_BYTES = 2048  # where an error event would stand
ENDING = 4  # bytes of an empty line
CR = 13

# One for all reads: a buffer for each, cut to what came, would tear the heap into pieces that stay.
_BUFFERS = [bytearray(READ_BYTES)]
_VIEW = memoryview(_BUFFERS[0])

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
        self._keep = spool.read
        self._kernel_stamps = kernel_stamps
        self._on_end = on_end
        self._on_unsent = on_unsent
        self._sock: socket.socket | None = None
        self._addresses: list[Address] = []
        self._reply: Reply | None = None
        self._number = 0
        self._request = memoryview(b"")
        self._framing = Framing()
        self._unparsed: list[bytes] = []
        self._lazy = False
        self._waiting = False
        self._uses = 0
        self._heard = False
        self.last_ns = 0
        self.reads = 0
        self.tail = b""

    @property
    def connecting(self) -> bool:
        """Whether the exchange at hand still waits for its connection."""
        return self._reply is not None and self._waiting

    def exchange(self, number: int, reply: Reply, request: bytes, addresses: Sequence[Address]) -> None:
        """Send a request, over a fresh connection if none is kept. What comes is spooled under `number`."""
        self._number, self._reply, self._request = number, reply, memoryview(request)
        self._framing = Framing()
        self._lazy = self._heard = False
        self.tail = b""
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

    def look(self) -> None:
        """Frame truly what has come of a stream that has fallen silent."""
        if self._reply is not None and self._unparsed:
            self._parse()

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
        """The one place that runs for every event: stamp, keep, look at the last four bytes."""
        sock = self._sock
        if sock is None:
            return
        try:
            size, control, _, _ = sock.recvmsg_into(_BUFFERS, CONTROL_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self._lost(str(error))
            return
        now_ns = perf_counter_ns()
        if not size:
            self._lost("")
            return
        data = bytes(_VIEW[:size])
        if self._reply is None:
            self.close()  # bytes that nobody asked for: the connection is of no further use
            return
        self.last_ns = now_ns
        self.reads += 1
        self._keep(self._number, now_ns, control[0][2] if control else NO_STAMP, data)
        unparsed = self._unparsed
        unparsed.append(data)
        # an empty line ends with CR LF CR LF: of an event's own two line feeds the fourth byte from behind is one
        if not self._lazy or len(data) < ENDING or data[-ENDING] == CR or len(unparsed) > UNPARSED_READS:
            self._parse()

    def _parse(self) -> None:
        """Frame what has not been framed yet, and end the exchange if the response is whole."""
        framing = self._framing
        data = b"".join(self._unparsed)
        wrong = framing.feed(data)
        self.tail = (self.tail + data)[-TAIL_BYTES:]
        self._unparsed.clear()
        self._heard = True
        if wrong:
            self._end(Outcome.MALFORMED, wrong, self.last_ns)
        elif framing.complete:
            self._end(Outcome.OK, "", self.last_ns)
        else:
            self._lazy = framing.chunked and framing.status > 0

    def _lost(self, failure: str) -> None:
        """The connection has ended: well, by the server before it saw our request, or within the reply."""
        self.look()
        if self._reply is None:
            self.close()
            return
        framing, now_ns = self._framing, perf_counter_ns()
        if framing.status and not (framing.chunked or framing.sized or failure):
            self._end(Outcome.OK, "", now_ns)  # a body without length ends with the connection
        elif self._uses and not self._heard and now_ns - self._reply.send_ns < CROSSED_S * 1e9:
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
        self._unparsed.clear()
        self._uses += 1
        if outcome is not Outcome.OK or not self._framing.keep or self._request:
            self.close()  # the server may leave it to us
        self._spool.end(self._number, reply)
        self._on_end()
