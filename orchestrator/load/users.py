"""The closed loop: users who send, read to the end, think and send again, over one epoll loop."""

from __future__ import annotations

import re
from functools import partial
from time import perf_counter_ns

from orchestrator.load.loop import Loop
from orchestrator.load.spec import HTTP_OK, Order, Reply
from orchestrator.load.spool import Writer
from orchestrator.load.stretch import Stretch, User, nanoseconds
from orchestrator.pace import backoff_s, start_s

# Both shapes of an error event; within generated text the quotes would be escaped.
_ERROR = re.compile(rb'"error": *[{"]|"object": *"error"')


class Users(Stretch):
    """One share of the users. They start over the ramp."""

    def __init__(self, order: Order, loop: Loop, spool: Writer) -> None:
        super().__init__(order, loop, spool)
        self._users = [User(number) for number in order.users]
        self._sessions = order.sessions
        self._drawn = 0
        self._open = 0

    def _begin(self, start_ns: int) -> None:
        for user in self._users:
            begin_s = start_s(user.number, self._spec.users, self._spec.ramp_s)
            self._loop.at(start_ns + nanoseconds(begin_s), partial(self._enter, user))

    def _enter(self, user: User) -> None:
        self.present += 1
        self._connect(user)
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
        self._loop.at(perf_counter_ns() + nanoseconds(pause_s), partial(self._next, user))


def _failed(reply: Reply, tail: bytes) -> bool:
    """Whether to back off: a transport failure, a bad status, or an error object at the end of a 200."""
    return reply.outcome.failed or reply.status != HTTP_OK or _ERROR.search(tail) is not None
