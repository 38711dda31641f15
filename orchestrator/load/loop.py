"""An epoll loop and nothing else: what is ready, and what is due, exact to some microseconds.

asyncio cannot hand over the kernel's stamp of a read, and its timers are exact to a millisecond; what
each costs per event is in docs/decisions/0005-data-plane.md.
"""

from __future__ import annotations

import ctypes
import os
import select
from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from time import perf_counter_ns

READ = select.EPOLLIN
WRITE = select.EPOLLOUT
BATCH = 256
QUIET = 16  # polls that find nothing, some 15 us: what an engine writes at once has come
PATIENCE = 256  # polls, some 2 ms
_TFD_FLAGS = os.O_NONBLOCK | os.O_CLOEXEC  # TFD_NONBLOCK, TFD_CLOEXEC
_TFD_ABSTIME = 1
_CLOCK_MONOTONIC = 1
_NS = 1_000_000_000
_NEVER_NS = 2**63 - 1

Call = Callable[[], None]


class Loop:
    """Calls the handler of each descriptor that is ready, and each timer when it is due."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._timerfd = _timerfd_create(_CLOCK_MONOTONIC, _TFD_FLAGS)
        if self._timerfd < 0:
            raise OSError(ctypes.get_errno(), "the kernel gave no timer")
        # edge-triggered, so that its expiry need not be read
        self._epoll.register(self._timerfd, select.EPOLLIN | select.EPOLLET)
        self._handlers: dict[int, Call] = {self._timerfd: self._fire}
        self._soon: deque[Call] = deque()
        self._leisure: deque[Call] = deque()
        self._timers: list[tuple[int, int, Call]] = []
        self._turn = count()
        self._armed_ns = _NEVER_NS
        self._expiry = _Itimerspec()
        self._over = False

    def close(self) -> None:
        self._epoll.close()
        os.close(self._timerfd)

    def watch(self, fd: int, mask: int, handler: Call) -> None:
        self._handlers[fd] = handler
        self._epoll.register(fd, mask)

    def change(self, fd: int, mask: int, handler: Call) -> None:
        self._handlers[fd] = handler
        self._epoll.modify(fd, mask)

    def forget(self, fd: int) -> None:
        if self._handlers.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def at(self, due_ns: int, call: Call) -> None:
        """Call once when CLOCK_MONOTONIC has come to `due_ns`. What is due already does not take the kernel's
        timer, whose setting may cost as much as reading an event; it lets what is ready go first, since a read that
        waits is stamped late and a request that waits is not."""
        if due_ns <= perf_counter_ns():
            self._soon.append(call)
            return
        heappush(self._timers, (due_ns, next(self._turn), call))
        if due_ns < self._armed_ns:
            self._arm(due_ns)

    def at_leisure(self, call: Call) -> None:
        """Call once when nothing is ready, which under too much load may be never."""
        self._leisure.append(call)

    def stop(self) -> None:
        self._over = True

    def run(self) -> None:
        """Until stopped, which it may have been already."""
        poll, handlers, soon, leisure = self._epoll.poll, self._handlers, self._soon, self._leisure
        quiet = waited = 0
        while not self._over:
            ready = poll(0 if soon or leisure else -1, BATCH)
            for fd, _ in ready:
                handler = handlers.get(fd)  # an earlier one of this batch may have closed it
                if handler is not None:
                    handler()
            quiet = 0 if ready else quiet + 1
            waited = waited + 1 if soon else 0
            if soon and (quiet >= QUIET or waited >= PATIENCE):
                waited = 0
                soon.popleft()()
            elif leisure and quiet:
                leisure.popleft()()

    def _fire(self) -> None:
        """Call what is due and set the kernel's timer to what is next."""
        timers = self._timers
        self._armed_ns = 0  # what is set meanwhile need not arm it
        while timers and timers[0][0] <= perf_counter_ns() and not self._over:
            heappop(timers)[2]()
        self._arm(timers[0][0] if timers else _NEVER_NS)

    def _arm(self, due_ns: int) -> None:
        self._armed_ns = due_ns
        expiry = self._expiry
        expiry.value_s, expiry.value_ns = divmod(max(due_ns, 1), _NS)  # 0 would disarm it
        _timerfd_settime(self._timerfd, _TFD_ABSTIME, ctypes.byref(expiry), None)


class _Itimerspec(ctypes.Structure):
    """struct itimerspec: interval, then first expiry."""

    _fields_ = tuple((name, ctypes.c_long) for name in ("interval_s", "interval_ns", "value_s", "value_ns"))


_libc = ctypes.CDLL(None, use_errno=True)  # os.timerfd_create comes with Python 3.13
_timerfd_create: Callable[..., int] = _libc.timerfd_create
_timerfd_settime: Callable[..., int] = _libc.timerfd_settime
