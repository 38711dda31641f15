"""The loop calls what is ready and what is due, and nothing else."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from functools import partial
from time import perf_counter_ns

import pytest

from orchestrator.load.loop import PATIENCE, READ, Loop

MS = 1_000_000


@pytest.fixture
def loop() -> Iterator[Loop]:
    made = Loop()
    yield made
    made.close()


def test_timers_fire_in_the_order_of_their_times(loop: Loop) -> None:
    """However they were set; equal ones in the order of setting; none too early."""
    now_ns = perf_counter_ns()
    fired: list[tuple[str, int]] = []

    def note(name: str) -> None:
        fired.append((name, perf_counter_ns() - now_ns))

    for name, due_ms in (("c", 20), ("a", 5), ("b", 5), ("past", -5)):
        loop.at(now_ns + due_ms * MS, partial(note, name))
    loop.at(now_ns + 30 * MS, loop.stop)
    loop.run()

    assert ["past", "a", "b", "c"] == [name for name, _ in fired]
    assert all(at_ns >= due_ms * MS for (_, at_ns), due_ms in zip(fired, (-5, 5, 5, 20), strict=True))


def test_timer_that_is_set_by_a_timer_fires(loop: Loop) -> None:
    """Also when it is due before the kernel's timer would have expired."""
    fired: list[str] = []

    def second() -> None:
        fired.append("second")
        loop.stop()

    def first() -> None:
        loop.at(perf_counter_ns() + MS, second)

    loop.at(perf_counter_ns() + 10_000 * MS, loop.stop)
    loop.at(perf_counter_ns() + MS, first)
    loop.run()

    assert ["second"] == fired


def test_descriptor_that_was_forgotten_is_not_called(loop: Loop) -> None:
    """Not even in the batch in which it was ready."""
    called: list[str] = []
    a, b = socket.socketpair()
    c, d = socket.socketpair()
    with a, b, c, d:

        def one_of_both(mine: socket.socket, other: socket.socket) -> None:
            called.append("one")
            mine.recv(1)
            loop.forget(other.fileno())
            loop.at(perf_counter_ns() + 5 * MS, loop.stop)

        loop.watch(a.fileno(), READ, lambda: one_of_both(a, c))
        loop.watch(c.fileno(), READ, lambda: one_of_both(c, a))
        b.send(b"x")
        d.send(b"x")
        loop.run()

    assert ["one"] == called


def test_loop_that_was_stopped_before_does_not_run(loop: Loop) -> None:
    """An order may be taken back before it begins."""
    loop.stop()
    loop.run()


def test_what_is_ready_goes_before_what_was_due(loop: Loop) -> None:
    """A read that waits is stamped late; at leisure comes last of all, once."""
    ours, theirs = socket.socketpair()
    called: list[str] = []

    def read() -> None:
        called.append("read")
        if len(called) == 3:
            ours.recv(1)

    def stop() -> None:
        called.append("leisure")
        loop.stop()

    theirs.send(b"x")
    loop.watch(ours.fileno(), READ, read)
    loop.at(0, partial(called.append, "due"))
    loop.at(0, partial(loop.at_leisure, stop))
    loop.run()

    assert called == ["read", "read", "read", "due", "leisure"]
    ours.close()
    theirs.close()


def test_what_was_due_is_not_put_off_for_ever(loop: Loop) -> None:
    """Under too much load something is always ready."""
    ours, theirs = socket.socketpair()
    reads: list[int] = []
    theirs.send(b"x")
    loop.watch(ours.fileno(), READ, partial(reads.append, 1))
    loop.at(0, loop.stop)
    loop.run()

    assert len(reads) == PATIENCE
    ours.close()
    theirs.close()
