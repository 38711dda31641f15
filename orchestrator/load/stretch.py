"""What the two kinds of load have in common: connections that send and end, and the watch over them."""

from __future__ import annotations

import socket
from abc import ABC, abstractmethod
from array import array
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from time import perf_counter_ns

from orchestrator.domain.exchange import Outcome
from orchestrator.load import clock
from orchestrator.load.connection import Address, Connection
from orchestrator.load.loop import Loop
from orchestrator.load.spec import Order, Reply
from orchestrator.load.spool import Writer

WATCH_S = 0.25
WATCH_USERS = 40  # all at once would hold up the reads
HEARTBEAT_S = 0.05


class User:
    """One user of a closed loop, or one of the connections of an open one: its reply in flight, and how often it
    has failed in a row."""

    __slots__ = ("ahead", "connection", "failures", "number", "reply", "request", "sequence")

    def __init__(self, number: int) -> None:
        self.number = number
        self.connection: Connection | None = None
        self.reply: Reply | None = None
        self.request = b""
        self.sequence = 0
        self.ahead = range(0)
        self.failures = 0


class Stretch(ABC):
    """One share of a stretch of load. `present` is how many users take part, or how many requests of an open loop
    are in flight; `held` how many of these were due while no more might be."""

    def __init__(self, order: Order, loop: Loop, spool: Writer) -> None:
        self._order = order
        self._spec = order.spec
        self._loop = loop
        self._spool = spool
        self._addresses = _addresses(order.spec.host, order.spec.port)
        self._users: list[User] = []
        self.present = 0
        self.ended = 0
        self.held = 0
        self.late_s = array("d")  # as objects those of an hour have 2 MB

    def run(self, start_ns: int) -> int:
        """Load from `start_ns` on, then cut. Gives the end; both in nanoseconds of CLOCK_MONOTONIC."""
        self._begin(start_ns)
        if self._spec.requests is None:
            self._loop.at(start_ns + nanoseconds(self._spec.length_s), self._loop.stop)
        if self._order.requests != 0:
            self._watch(0)
            self._beat(perf_counter_ns())
            self._loop.run()
        end_ns = perf_counter_ns()
        for user in self._users:
            if user.connection is not None:
                user.connection.fail(Outcome.CUT, "")
                user.connection.close()
        for number, reply in self._unsent(end_ns):
            self._spool.end(number, reply)
        self._sample()
        return end_ns

    @abstractmethod
    def _begin(self, start_ns: int) -> None:
        """Set the timers of what comes first."""

    @abstractmethod
    def _on_end(self, user: User) -> None:
        """Its reply has ended, well or badly."""

    def _unsent(self, end_ns: int) -> Iterator[tuple[int, Reply]]:  # noqa: ARG002 - of an open loop alone
        """What was due and never came to be sent."""
        return iter(())

    def _connect(self, user: User) -> None:
        user.connection = Connection(
            self._loop,
            self._spool,
            kernel_stamps=self._spec.kernel_stamps,
            on_end=partial(self._on_end, user),
            on_unsent=partial(self._exchange, user),  # the server had closed it: once more, on a fresh one
        )

    def _exchange(self, user: User) -> None:
        if user.connection is not None and user.reply is not None:
            user.connection.exchange(user.sequence, user.reply, user.request, self._addresses)

    def _request(self, request_id: str, body: bytes) -> bytes:
        head = (
            f"POST {self._spec.path} HTTP/1.1\r\nHost: {self._spec.host}:{self._spec.port}\r\n"
            "Content-Type: application/json\r\nAccept: text/event-stream\r\n"
            f"X-Request-Id: {request_id}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body

    def _sample(self) -> None:
        """Note how the kernel's clock stands to ours."""
        if (found := clock.sample()) is not None:
            self._spool.sample(*found)

    def _beat(self, due_ns: int) -> None:
        """Note how late each waking is: the client's own error, as this host makes it."""
        now_ns = perf_counter_ns()
        self.late_s.append((now_ns - due_ns) / 1e9)
        self._sample()
        next_ns = now_ns + nanoseconds(HEARTBEAT_S)
        self._loop.at(next_ns, partial(self._beat, next_ns))

    def _watch(self, part: int) -> None:
        """End streams that are silent for too long or last too long."""
        now_ns = perf_counter_ns()
        heard_ns = now_ns - nanoseconds(self._spec.stall_s)
        sent_ns = now_ns - nanoseconds(self._spec.request_s)
        parts = max(1, len(self._users) // WATCH_USERS)
        for user in self._users[part::parts]:
            reply, connection = user.reply, user.connection
            if reply is None or connection is None:
                continue
            if connection.last_ns < heard_ns:
                connection.fail(*_silence(connection, self._spec.stall_s))
            elif reply.send_ns < sent_ns:
                connection.fail(Outcome.TIMEOUT, f"not ended after {self._spec.request_s:g} s")
        self._loop.at(now_ns + nanoseconds(WATCH_S / parts), partial(self._watch, (part + 1) % parts))


def nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)


def _silence(connection: Connection, stall_s: float) -> tuple[Outcome, str]:
    if connection.connecting:
        return Outcome.CONNECT, f"no connection within {stall_s:g} s"
    return Outcome.STALL, f"no byte for {stall_s:g} s"


def _addresses(host: str, port: int) -> list[Address]:
    """Where the host's name leads; nowhere if it cannot be resolved, and then no request gets a connection."""
    with suppress(socket.gaierror):
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return [(family, address) for family, _, _, _, address in found]
    return []
