"""orchestrator/host/telemetry.py: the schedule on a false clock, the isolation of sources in real threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from orchestrator.host.telemetry import ReadingError, Source, Telemetry, next_tick

SECOND = 1_000_000_000
SOON_S = 5.0


class FalseClock:
    """Time that passes only while a source reads or a thread waits; it stops the run after some waits."""

    def __init__(self, ticks: int) -> None:
        self.now_ns = 1_000 * SECOND
        self.ended = threading.Event()
        self._ticks = ticks

    def __call__(self) -> int:
        return self.now_ns

    def pass_s(self, seconds: float) -> None:
        self.now_ns += round(seconds * SECOND)

    def wait(self, stopping: threading.Event, seconds: float) -> bool:
        self.pass_s(seconds)
        self._ticks -= 1
        if not self._ticks:
            stopping.set()
            self.ended.set()
        return stopping.is_set()


def run(read: Callable[[FalseClock], dict[str, float]], ticks: int, deadline_s: float = 5.0) -> Telemetry:
    """A telemetry of one source that has lived through a number of ticks."""
    clock = FalseClock(ticks)
    source = Source("source", lambda: read(clock))
    telemetry = Telemetry([source], deadline_s=deadline_s, clock=clock, wait=clock.wait)
    telemetry.start()
    assert clock.ended.wait(SOON_S)
    telemetry.stop()
    return telemetry


def seconds(telemetry: Telemetry) -> list[float]:
    return [sample.t_ns / SECOND - 1_000 for sample in telemetry.samples()]


def until(condition: Callable[[], bool]) -> None:
    """Wait for another thread, a millisecond at a time."""
    end_s = time.monotonic() + SOON_S
    while not condition():
        assert time.monotonic() < end_s, "nothing happened"
        time.sleep(0.001)


def test_both_clocks_are_the_same() -> None:
    """perf_counter and monotonic read CLOCK_MONOTONIC, so that every part of a run has one time axis."""
    names = {time.get_clock_info(clock).implementation for clock in ("perf_counter", "monotonic")}

    assert names == {"clock_gettime(CLOCK_MONOTONIC)"}
    assert abs(time.perf_counter_ns() - time.clock_gettime_ns(time.CLOCK_MONOTONIC)) < SECOND


@pytest.mark.parametrize(
    ("tick", "elapsed_s", "expected"),
    [
        (0, 0.0, 1),
        (0, 0.3, 1),
        (0, 1.0, 1),
        (0, 1.1, 2),
        (4, 4.9, 5),
        (4, 9.5, 10),
        (7, 6.9, 8),
    ],
)
def test_the_next_tick_counts_from_the_start(tick: int, elapsed_s: float, expected: int) -> None:
    """Ticks stand at whole periods from the start; those that are over are not made up for."""
    assert next_tick(tick, round(elapsed_s * SECOND), SECOND) == expected


def test_readings_do_not_drift() -> None:
    """A reading that takes time does not push the ones after it."""

    def read(clock: FalseClock) -> dict[str, float]:
        clock.pass_s(0.3)
        return {"x": 1.0}

    telemetry = run(read, ticks=5)

    assert seconds(telemetry) == [0, 1, 2, 3, 4]
    assert {300_000_000} == {sample.took_ns for sample in telemetry.samples()}
    assert telemetry.faults() == {}


def test_missed_ticks_are_counted_and_not_bunched() -> None:
    """A reading of 2.5 s swallows two ticks; the next stands on its own second."""
    lengths_s = iter([2.5, 0.0, 0.0])

    def read(clock: FalseClock) -> dict[str, float]:
        clock.pass_s(next(lengths_s))
        return {"x": 1.0}

    telemetry = run(read, ticks=3)

    assert seconds(telemetry) == [0, 3, 4]
    assert telemetry.faults()["source"].missed_ticks == 2


def test_a_reading_after_its_deadline_is_left_out() -> None:
    """What comes late is counted, and of no moment any more."""
    lengths_s = iter([0.0, 7.0, 0.0])

    def read(clock: FalseClock) -> dict[str, float]:
        clock.pass_s(next(lengths_s))
        return {"x": 1.0}

    telemetry = run(read, ticks=3)

    assert seconds(telemetry) == [0, 8]
    faults = telemetry.faults()["source"]
    assert (faults.late, faults.missed_ticks, faults.last) == (1, 6, "answered only after 7.0 s")


def test_a_source_that_raises_is_read_again() -> None:
    """An exception costs one reading and is counted with its text."""
    answers: list[dict[str, float] | Exception] = [{"x": 1.0}, RuntimeError("no"), {"x": 3.0}]

    def read(clock: FalseClock) -> dict[str, float]:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    telemetry = run(read, ticks=3)

    assert [sample.values["x"] for sample in telemetry.samples()] == [1.0, 3.0]
    faults = telemetry.faults()["source"]
    assert (faults.raised, faults.last, faults.count) == (1, "RuntimeError: no", 1)


def test_a_partial_reading_is_kept_and_counted() -> None:
    """What a source could read stands, beside the fault."""

    def read(clock: FalseClock) -> dict[str, float]:
        raise ReadingError("half of it is gone", {"x": 1.0})

    telemetry = run(read, ticks=1)

    assert [sample.values for sample in telemetry.samples()] == [{"x": 1.0}]
    assert telemetry.faults()["source"].last == "half of it is gone"


def test_what_is_no_number_is_left_out() -> None:
    """Infinite and undefined values have no place in a mean; an empty reading is no sample."""
    answers = [{"x": float("nan"), "y": 2}, {"x": float("inf")}, {}]

    telemetry = run(lambda _: answers.pop(0), ticks=3)

    assert [sample.values for sample in telemetry.samples()] == [{"y": 2.0}]


def test_a_raising_source_stops_no_other() -> None:
    """Each source has a thread of its own."""

    def broken() -> dict[str, float]:
        raise OSError("gone")

    with Telemetry([Source("bad", broken), Source("good", lambda: {"x": 1.0})], period_s=0.005) as telemetry:
        until(lambda: len(telemetry.samples()) > 3)

    assert {"good"} == {sample.source for sample in telemetry.samples()}
    assert set(telemetry.faults()) == {"bad"}


def test_a_hung_source_stops_no_other_and_not_the_end() -> None:
    """A reading that never comes back is told while it hangs, and `stop` leaves it behind."""
    release = threading.Event()

    def hang() -> dict[str, float]:
        release.wait(SOON_S)
        return {"late": 1.0}

    sources = [Source("hung", hang), Source("good", lambda: {"x": 1.0})]
    telemetry = Telemetry(sources, period_s=0.005, deadline_s=0.05).start()
    until(lambda: len(telemetry.samples()) > 3 and "hung" in telemetry.faults())

    began_s = time.monotonic()
    samples = telemetry.stop()

    assert time.monotonic() - began_s < SOON_S / 2
    assert {"good"} == {sample.source for sample in samples}
    assert telemetry.faults()["hung"].hung
    assert telemetry.faults()["hung"].last == "did not answer"

    release.set()
    until(lambda: not telemetry.faults()["hung"].hung)
    assert telemetry.faults()["hung"].late == 1
    assert {"good"} == {sample.source for sample in telemetry.samples()}


def test_a_source_is_closed_in_its_own_thread_after_its_last_reading() -> None:
    """Whatever a source holds open ends with its thread."""
    events: list[tuple[str, str]] = []

    def note(event: str) -> None:
        events.append((event, threading.current_thread().name))

    def read() -> dict[str, float]:
        note("read")
        return {"x": 1.0}

    with Telemetry([Source("s", read, lambda: note("close"))], period_s=60) as telemetry:
        until(lambda: bool(telemetry.samples()))

    assert events == [("read", "telemetry-s"), ("close", "telemetry-s")]


def test_samples_of_all_sources_come_in_order_of_time() -> None:
    """One list, sorted, whatever the threads did."""
    sources = [Source(name, lambda: {"x": 1.0}) for name in "abc"]
    with Telemetry(sources, period_s=0.002) as telemetry:
        until(lambda: len(telemetry.samples()) > 10)

    times = [sample.t_ns for sample in telemetry.samples()]
    assert sorted(times) == times


def test_stopping_does_not_wait_for_the_next_tick() -> None:
    """A period of a minute ends at once."""
    telemetry = Telemetry([Source("s", lambda: {"x": 1.0})], period_s=60).start()
    began_s = time.monotonic()

    telemetry.stop()

    assert time.monotonic() - began_s < SOON_S
