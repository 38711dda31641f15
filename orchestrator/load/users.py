"""The closed loop: N users who send, read to the end, think and send again, over one asyncio loop."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from time import perf_counter_ns

from orchestrator.domain.exchange import Outcome
from orchestrator.load.connection import Connection, Unsent
from orchestrator.load.dialects import HTTP_OK
from orchestrator.load.spec import LoadSpec, Reply
from orchestrator.pace import backoff_s, start_s

WATCH_S = 0.25
CUT_S = 0.5
HEARTBEAT_S = 0.05
# Both shapes of an error event; within generated text the quotes would be escaped.
_ERROR = re.compile(rb'"error": *[{"]|"object": *"error"')


class Users:
    """All users of one stretch of load. `on_reply` gets each reply once it has ended; `present` is how many
    users have started and take part."""

    def __init__(self, spec: LoadSpec, on_reply: Callable[[Reply], None]) -> None:
        self._spec = spec
        self._on_reply = on_reply
        self._over = asyncio.Event()
        self._drawn = 0
        self._in_flight: dict[int, tuple[Connection, Reply]] = {}
        self.present = 0
        self.late_s: list[float] = []
        self.ended = 0
        self.pieces_ended = 0

    @property
    def pieces(self) -> int:
        """Pieces of body received so far, of ended replies and of those in flight."""
        return self.pieces_ended + sum(len(reply.pieces) for _, reply in self._in_flight.values())

    def stop(self) -> None:
        self._over.set()

    async def run(self) -> tuple[int, int]:
        """Ramp, load, cut. Gives the start and the end in nanoseconds of CLOCK_MONOTONIC."""
        start_ns = perf_counter_ns()
        tasks = [asyncio.create_task(self._user(k)) for k in range(self._spec.users)]
        for task in tasks:
            task.add_done_callback(self._on_user_end)
        watchers = [asyncio.create_task(self._watch()), asyncio.create_task(self._beat())]
        deadline_s = self._spec.length_s if self._spec.requests is None else None
        try:
            await asyncio.wait_for(self._over.wait(), deadline_s)
        except asyncio.TimeoutError:
            self._over.set()
        end_ns = perf_counter_ns()
        for connection, _ in list(self._in_flight.values()):
            connection.fail(Outcome.CUT, "")
        _, late = await asyncio.wait(tasks, timeout=CUT_S)
        for task in (*watchers, *late):
            task.cancel()  # a user still connecting has nothing to record
        for ended in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(ended, Exception):
                raise ended
        return start_ns, end_ns

    async def _user(self, user: int) -> None:
        await self._pause(start_s(user, self._spec.users, self._spec.ramp_s))
        connection, failures = None, 0
        self.present += 1
        while not self._over.is_set():
            draw = self._draw()
            if draw is None:
                break
            reply, connection = await self._exchange(user, draw, connection)
            failures = failures + 1 if _failed(reply) else 0
            self._record(reply)
            await self._pause(backoff_s(failures) or self._spec.think_s)
        self.present -= 1
        if connection is not None:
            connection.close()

    def _on_user_end(self, task: asyncio.Task[None]) -> None:
        """A user that dies of a fault of ours ends the stretch: a load that shrinks unseen is a wrong load."""
        if not task.cancelled() and task.exception() is not None:
            self._over.set()

    def _draw(self) -> int | None:
        if self._spec.requests is not None and self._drawn >= self._spec.requests:
            return None
        self._drawn += 1
        return self._drawn - 1

    def _record(self, reply: Reply) -> None:
        self._on_reply(reply)
        self.ended += 1
        self.pieces_ended += len(reply.pieces)
        if self.ended == self._spec.requests:
            self._over.set()

    async def _exchange(
        self, user: int, draw: int, connection: Connection | None
    ) -> tuple[Reply, Connection | None]:
        """One request; on a kept connection that the server has closed, once more on a fresh one. The connection
        comes back if it can be used again."""
        prompt = draw % len(self._spec.bodies)
        reply = Reply(id=f"{self._spec.tag}-{draw}", user=user, prompt=prompt, send_ns=0)
        request = self._request(reply.id, self._spec.bodies[prompt])
        while True:
            try:
                if connection is None:
                    reply.connects += 1
                    reply.send_ns = perf_counter_ns()
                    connection = await self._connect()
                    if self._over.is_set():  # connected while the stretch ended: nothing may be sent any more
                        _end(reply, Outcome.CUT, "")
                        break
                self._in_flight[user] = (connection, reply)
                await connection.exchange(request, reply)
            except Unsent:
                if not reply.connects:
                    connection = None
                    continue
                _end(reply, Outcome.DISCONNECT, "connection closed before the request was sent")
            except (OSError, asyncio.TimeoutError) as error:
                _end(reply, Outcome.CONNECT, str(error) or "no connection in time")
            finally:
                self._in_flight.pop(user, None)
            break
        if connection is not None and not connection.reusable:
            connection.close()  # the server may leave it to us
            connection = None
        return reply, connection

    async def _connect(self) -> Connection:
        loop = asyncio.get_running_loop()
        opening = loop.create_connection(Connection, self._spec.host, self._spec.port)
        _, connection = await asyncio.wait_for(opening, self._spec.stall_s)
        return connection

    def _request(self, request_id: str, body: bytes) -> bytes:
        head = (
            f"POST {self._spec.path} HTTP/1.1\r\nHost: {self._spec.host}:{self._spec.port}\r\n"
            "Content-Type: application/json\r\nAccept: text/event-stream\r\n"
            f"X-Request-Id: {request_id}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body

    async def _pause(self, seconds: float) -> None:
        """Sleep, but wake when the stretch is over."""
        if seconds <= 0:
            return
        try:
            await asyncio.wait_for(self._over.wait(), seconds)
        except asyncio.TimeoutError:
            return

    async def _beat(self) -> None:
        """Note how late each waking is: the client's own error, as this host makes it."""
        while True:
            asleep_ns = perf_counter_ns()
            await asyncio.sleep(HEARTBEAT_S)
            self.late_s.append((perf_counter_ns() - asleep_ns) / 1e9 - HEARTBEAT_S)

    async def _watch(self) -> None:
        """End streams that are silent for too long or last too long: one timer for all of them."""
        while True:
            await asyncio.sleep(WATCH_S)
            now_ns = perf_counter_ns()
            for connection, reply in list(self._in_flight.values()):
                if now_ns - connection.last_ns > self._spec.stall_s * 1e9:
                    connection.fail(Outcome.STALL, f"no byte for {self._spec.stall_s:g} s")
                elif now_ns - reply.send_ns > self._spec.request_s * 1e9:
                    connection.fail(Outcome.TIMEOUT, f"not ended after {self._spec.request_s:g} s")


def _failed(reply: Reply) -> bool:
    """Whether to back off: a transport failure, a bad status, or an error object at the end of a 200."""
    if reply.outcome.failed or reply.status != HTTP_OK:
        return True
    return any(_ERROR.search(piece) for piece in reply.pieces[-2:])


def _end(reply: Reply, outcome: Outcome, detail: str) -> None:
    """The end of a request that no connection took on."""
    reply.outcome, reply.detail, reply.end_ns = outcome, detail, perf_counter_ns()
