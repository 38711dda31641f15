"""The kernel's stamps on our clock, whatever happens to the kernel's."""

from __future__ import annotations

import socket
import time
from time import perf_counter_ns

import pytest

from orchestrator.load import clock
from orchestrator.load.clock import Offsets
from orchestrator.load.connection import take_stamps
from orchestrator.load.spool import stamp_ns

MS = 1_000_000
S = 1000 * MS


def offsets(*samples: tuple[int, int]) -> Offsets:
    found = Offsets()
    for at_ns, offset_ns in samples:
        found.add(at_ns, offset_ns)
    return found


def test_stamp_is_moved_by_the_offset() -> None:
    """CLOCK_REALTIME less what it is ahead."""
    assert 9 * S == offsets((1 * S, 500 * S)).arrival_ns(9 * S + 7, 509 * S)


def test_scatter_of_sampling_is_no_step() -> None:
    """The first sample of an era stands."""
    found = offsets((1 * S, 500 * S), (2 * S, 500 * S + 900))

    assert (0, 3 * S) == (found.steps, found.arrival_ns(3 * S + 7, 503 * S))


@pytest.mark.parametrize("step", [250 * MS, -250 * MS, 3600 * S, -3600 * S])
def test_stamps_on_either_side_of_a_step_keep_their_time(step: int) -> None:
    """The clock was set at 10.02 s; it shows in the sample of 10.05 s."""
    found = offsets((10 * S, 500 * S), (10 * S + 50 * MS, 500 * S + step))
    early, late, after = 10 * S + 10 * MS, 10 * S + 30 * MS, 10 * S + 60 * MS

    assert 1 == found.steps
    assert early == found.arrival_ns(early + 9, early + 500 * S)
    assert late == found.arrival_ns(late + 9, late + 500 * S + step)
    assert after == found.arrival_ns(after + 9, after + 500 * S + step)
    # stamped before the step, read after the sample that shows it
    assert late == found.arrival_ns(after, late + 500 * S)


def test_long_after_a_step_only_the_new_offset_counts() -> None:
    """Else a lag of the client could be taken for the old one."""
    found = offsets((10 * S, 500 * S), (20 * S, 501 * S))

    assert 28 * S == found.arrival_ns(30 * S, 529 * S)


def test_stamp_that_no_offset_explains_is_none() -> None:
    """It cannot have come after it was read."""
    assert 0 == offsets((1 * S, 500 * S)).arrival_ns(9 * S, 511 * S)
    assert 0 == Offsets().arrival_ns(9 * S, 511 * S)


def test_sample_takes_the_tightest_reading() -> None:
    """An interruption between two readings widens one of them and spoils no other."""
    moments = iter([0, 1000, 900, 1000, 2000, 1010, 1100, 3000, 5000, 6000, 7000, 9000, 9100, 9200, 9300])

    assert (1010, 995) == clock.sample(lambda _: next(moments))


def test_sample_that_is_nowhere_tight_is_none() -> None:
    """An offset that is wrong by a millisecond would move stamps by it."""
    moments = iter(range(0, 100 * MS, MS))

    assert clock.sample(lambda _: next(moments)) is None


def test_kernels_stamp_lies_between_write_and_read() -> None:
    """On a real socket, by the real clocks."""
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as ours,
    ):
        take_stamps(ours)
        theirs, _ = server.accept()
        found, stamp = None, b""
        for _ in range(50):  # the kernel begins to stamp a moment after the first socket asks for it
            sample = clock.sample()
            before_ns = perf_counter_ns()
            theirs.send(b"x")
            time.sleep(0.005)
            _, control, _, _ = ours.recvmsg(16, 64)
            if sample is not None and control:
                found, stamp = sample, control[0][2]
                break
        theirs.close()
    assert found is not None
    arrival_ns = offsets(found).arrival_ns(perf_counter_ns(), stamp_ns(stamp))

    assert before_ns <= arrival_ns < before_ns + 5 * MS
