"""The open loop: requests are sent when they are due, whatever became of those before, over one epoll loop."""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Iterator
from time import perf_counter_ns

from orchestrator.domain.exchange import Outcome
from orchestrator.load.loop import Loop
from orchestrator.load.spec import Order, Reply
from orchestrator.load.spool import Writer
from orchestrator.load.stretch import Stretch, User


class Arrivals(Stretch):
    """One share of the requests. Each takes the connection that was left last, else opens one, else waits for one
    in the order in which it was due; how long it waited is part of its latency. A failure changes nothing."""

    def __init__(self, order: Order, loop: Loop, spool: Writer) -> None:
        super().__init__(order, loop, spool)
        self._due_ns = order.spec.due_ns or array("q")
        self._ahead = order.arrivals
        self._idle: list[User] = []
        self._waiting: deque[int] = deque()
        self._start_ns = 0

    def _begin(self, start_ns: int) -> None:
        self._start_ns = start_ns
        self._await_next()

    def _await_next(self) -> None:
        if self._ahead:
            self._loop.at(self._start_ns + self._due_ns[self._ahead[0]], self._arrive)

    def _arrive(self) -> None:
        number, self._ahead = self._ahead[0], self._ahead[1:]
        self._waiting.append(number)
        self._await_next()
        self._serve()
        self.held += bool(self._waiting) and self._waiting[-1] == number

    def _serve(self) -> None:
        """Send what has waited longest, if it may be."""
        user = self._free() if self._waiting else None
        if user is None:
            return
        number = self._waiting.popleft()
        self.present += 1
        user.sequence = number
        user.reply = self._reply(number)
        user.request = self._request(user.reply.id, self._spec.bodies[user.reply.prompt])
        self._exchange(user)

    def _free(self) -> User | None:
        if self._idle:
            return self._idle.pop()
        if len(self._users) == len(self._order.users):
            return None
        user = User(len(self._users))
        self._users.append(user)
        self._connect(user)
        return user

    def _on_end(self, user: User) -> None:
        if user.reply is None:
            return
        user.reply, user.request = None, b""
        self.ended += 1
        self.present -= 1
        self._sample()
        self._idle.append(user)
        if self._waiting:  # not at once: we are within what this connection does
            self._loop.at(perf_counter_ns(), self._serve)

    def _unsent(self, end_ns: int) -> Iterator[tuple[int, Reply]]:
        """What was due is part of the load: an exchange that was cut before it began."""
        due = [n for n in self._ahead if self._start_ns + self._due_ns[n] < end_ns]
        for number in (*self._waiting, *due):
            reply = self._reply(number)
            reply.outcome, reply.end_ns = Outcome.CUT, end_ns
            yield number, reply

    def _reply(self, number: int) -> Reply:
        return Reply(
            id=f"{self._spec.tag}-{number}",
            user=number,
            prompt=number % len(self._spec.bodies),
            send_ns=0,
            scheduled_ns=self._start_ns + self._due_ns[number],
        )
