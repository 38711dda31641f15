"""The closed loop: users who send, read to the end, think and send again, over one epoll loop."""

from __future__ import annotations

import re
import socket
from contextlib import suppress
from functools import partial
from time import perf_counter_ns

from orchestrator.domain.exchange import Outcome
from orchestrator.load import clock
from orchestrator.load.connection import Address, Connection
from orchestrator.load.loop import Loop
from orchestrator.load.spec import HTTP_OK, Order, Reply
from orchestrator.load.spool import Writer
from orchestrator.pace import backoff_s, start_s

WATCH_S = 0.25
WATCH_USERS = 40  # all at once would hold up the reads
HEARTBEAT_S = 0.05
# Both shapes of an error event; within generated text the quotes would be escaped.
_ERROR = re.compile(rb'"error": *[{"]|"object": *"error"')


class User:
    """One user: its connection, its reply in flight, and how often it has failed in a row."""

    __slots__ = ("ahead", "connection", "failures", "number", "reply", "request", "sequence")

    def __init__(self, number: int) -> None:
        self.number = number
        self.connection: Connection | None = None
        self.reply: Reply | None = None
        self.request = b""
        self.sequence = 0
        self.ahead = range(0)
        self.failures = 0


class Users:
    """One share of the users of a stretch of load. `present` is how many have started and take part."""

    def __init__(self, order: Order, loop: Loop, spool: Writer) -> None:
        self._order = order
        self._spec = order.spec
        self._loop = loop
        self._spool = spool
        self._addresses = _addresses(order.spec.host, order.spec.port)
        self._users = [User(number) for number in order.users]
        self._sessions = order.sessions
        self._drawn = 0
        self._open = 0
        self.present = 0
        self.ended = 0
        self.late_s: list[float] = []

    def run(self, start_ns: int) -> int:
        """Ramp from `start_ns` on, load, cut. Gives the end; both in nanoseconds of CLOCK_MONOTONIC."""
        spec = self._spec
        for user in self._users:
            begin_ns = start_ns + _ns(start_s(user.number, spec.users, spec.ramp_s))
            self._loop.at(begin_ns, partial(self._enter, user))
        if spec.requests is None:
            self._loop.at(start_ns + _ns(spec.length_s), self._loop.stop)
        if self._order.requests != 0:
            self._watch(0)
            self._beat(perf_counter_ns())
            self._loop.run()
        end_ns = perf_counter_ns()
        for user in self._users:
            if user.connection is not None:
                user.connection.fail(Outcome.CUT, "")
                user.connection.close()
        self._sample()
        return end_ns

    def _enter(self, user: User) -> None:
        self.present += 1
        user.connection = Connection(
            self._loop,
            self._spool,
            kernel_stamps=self._spec.kernel_stamps,
            on_end=partial(self._on_end, user),
            on_unsent=partial(self._on_unsent, user),
        )
        self._next(user)

    def _next(self, user: User) -> None:
        """Send the session's next turn, else draw a new one; the user leaves when there is nothing to draw."""
        if user.failures or not user.ahead:
            if self._order.requests is not None and self._drawn >= self._order.requests:
                self.present -= 1
                return
            rounds, session = divmod(
                self._order.shard + self._drawn * self._order.shards, len(self._sessions)
            )
            self._drawn += 1
            self._open += 1
            user.ahead = self._sessions[session]
            user.sequence = rounds * len(self._spec.bodies) + user.ahead.start
        else:
            user.sequence += 1
        prompt, user.ahead = user.ahead[0], user.ahead[1:]
        user.reply = Reply(id=f"{self._spec.tag}-{user.sequence}", user=user.number, prompt=prompt, send_ns=0)
        user.request = self._request(user.reply.id, self._spec.bodies[prompt])
        self._exchange(user)

    def _exchange(self, user: User) -> None:
        if user.connection is not None and user.reply is not None:
            user.connection.exchange(user.sequence, user.reply, user.request, self._addresses)

    def _on_unsent(self, user: User) -> None:
        """The server had closed the kept connection: once more, on a fresh one."""
        self._exchange(user)

    def _on_end(self, user: User) -> None:
        reply, connection = user.reply, user.connection
        if reply is None or connection is None:
            return
        user.reply, user.request = None, b""
        self.ended += 1
        self._sample()
        user.failures = user.failures + 1 if _failed(reply, connection.tail) else 0
        self._open -= user.failures > 0 or not user.ahead
        if self._open == 0 and self._drawn == self._order.requests:
            self._loop.stop()
        pause_s = backoff_s(user.failures) or self._spec.think_s
        self._loop.at(perf_counter_ns() + _ns(pause_s), partial(self._next, user))

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
        next_ns = now_ns + _ns(HEARTBEAT_S)
        self._loop.at(next_ns, partial(self._beat, next_ns))

    def _watch(self, part: int) -> None:
        """End streams that are silent for too long or last too long."""
        now_ns = perf_counter_ns()
        heard_ns = now_ns - _ns(self._spec.stall_s)
        sent_ns = now_ns - _ns(self._spec.request_s)
        parts = max(1, len(self._users) // WATCH_USERS)
        for user in self._users[part::parts]:
            reply, connection = user.reply, user.connection
            if reply is None or connection is None:
                continue
            if connection.last_ns < heard_ns:
                connection.fail(*_silence(connection, self._spec.stall_s))
            elif reply.send_ns < sent_ns:
                connection.fail(Outcome.TIMEOUT, f"not ended after {self._spec.request_s:g} s")
        self._loop.at(now_ns + _ns(WATCH_S / parts), partial(self._watch, (part + 1) % parts))


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


def _failed(reply: Reply, tail: bytes) -> bool:
    """Whether to back off: a transport failure, a bad status, or an error object at the end of a 200."""
    return reply.outcome.failed or reply.status != HTTP_OK or _ERROR.search(tail) is not None


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)
