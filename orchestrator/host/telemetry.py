"""Readings of the machine, once a second, beside a load. One thread per source: none can stop another.

Times are CLOCK_MONOTONIC: on Linux `time.perf_counter_ns` and `time.monotonic_ns` both read it (a test
holds this), and so do the load client's process and the orchestrator.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from types import TracebackType
from typing import TYPE_CHECKING

from orchestrator.domain.telemetry import Sample

if TYPE_CHECKING:
    from typing_extensions import Self

Values = Mapping[str, float]
Clock = Callable[[], int]
Wait = Callable[[threading.Event, float], bool]


class ReadingError(Exception):
    """A source could not be read, or only in part: `values` is what it did give. Counted, never fatal."""

    def __init__(self, message: str, values: Values | None = None) -> None:
        super().__init__(message)
        self.values = values or {}


def _nothing() -> None:
    """A source that holds nothing open."""


@dataclass(frozen=True, slots=True)
class Source:
    """Something to read. `read` and then `close` are called in one thread of the source's own."""

    name: str
    read: Callable[[], Values]
    close: Callable[[], None] = _nothing


@dataclass(frozen=True, slots=True)
class Faults:
    """What went wrong with one source: readings that raised, that came after the deadline and were left
    out, ticks that passed while a reading was still under way, and whether one never came back."""

    raised: int = 0
    late: int = 0
    missed_ticks: int = 0
    hung: bool = False
    last: str = ""

    @property
    def count(self) -> int:
        return self.raised + self.late + self.missed_ticks + self.hung


class Telemetry:
    """Reads every source each `period_s` from `start` to `stop`.

    The ticks are counted from the start, so that they do not drift; those missed are skipped, not made
    up for. A reading that takes longer than `deadline_s` is left out; `stop` waits no longer than that.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        period_s: float = 1.0,
        *,
        deadline_s: float = 5.0,
        clock: Clock = time.perf_counter_ns,
        wait: Wait = threading.Event.wait,
    ) -> None:
        self._stopping = threading.Event()
        self._deadline_s = deadline_s
        timing = Timing(round(period_s * 1e9), round(deadline_s * 1e9), clock, wait)
        self._readers = tuple(Reader(source, timing, self._stopping) for source in sources)

    def start(self) -> Self:
        for reader in self._readers:
            reader.thread.start()
        return self

    def stop(self) -> list[Sample]:
        """End all reading; the samples in order of time. A source that hangs is left behind."""
        self._stopping.set()
        until_s = time.monotonic() + self._deadline_s
        for reader in self._readers:
            reader.thread.join(max(0.0, until_s - time.monotonic()))
        return self.samples()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def samples(self) -> list[Sample]:
        """All samples so far, in order of time."""
        return sorted((s for reader in self._readers for s in list(reader.samples)), key=lambda s: s.t_ns)

    def faults(self) -> dict[str, Faults]:
        """What went wrong so far, by source; sources without a fault are not named."""
        found = {reader.source.name: reader.faults_now() for reader in self._readers}
        return {name: faults for name, faults in found.items() if faults.count}


@dataclass(frozen=True, slots=True)
class Timing:
    """The clock that all sources share."""

    period_ns: int
    deadline_ns: int
    clock: Clock
    wait: Wait


class Reader:
    """One source and its thread."""

    def __init__(self, source: Source, timing: Timing, stopping: threading.Event) -> None:
        self.source = source
        self.samples: list[Sample] = []
        self.thread = threading.Thread(target=self._run, name=f"telemetry-{source.name}", daemon=True)
        self._timing = timing
        self._stopping = stopping
        self._faults = Faults()
        self._began_ns: int | None = None

    def faults_now(self) -> Faults:
        """The faults, with a reading that is past its deadline at this moment."""
        began_ns = self._began_ns
        hung = began_ns is not None and self._timing.clock() - began_ns > self._timing.deadline_ns
        return replace(self._faults, hung=hung, last="did not answer" if hung else self._faults.last)

    def _run(self) -> None:
        try:
            self._read_until_stopped()
        finally:
            self.source.close()

    def _read_until_stopped(self) -> None:
        timing = self._timing
        start_ns = timing.clock()
        tick = 0
        while not self._stopping.is_set():
            self._read()
            following = next_tick(tick, timing.clock() - start_ns, timing.period_ns)
            self._count(missed_ticks=following - tick - 1)
            tick = following
            due_ns = start_ns + tick * timing.period_ns
            timing.wait(self._stopping, max(0, due_ns - timing.clock()) / 1e9)

    def _read(self) -> None:
        t_ns = self._began_ns = self._timing.clock()
        values = self._values()
        took_ns = self._timing.clock() - t_ns
        self._began_ns = None
        if took_ns > self._timing.deadline_ns:
            self._count(late=1, last=f"answered only after {took_ns / 1e9:.1f} s")
        elif kept := {name: float(value) for name, value in values.items() if isfinite(value)}:
            self.samples.append(Sample(t_ns=t_ns, source=self.source.name, values=kept, took_ns=took_ns))

    def _values(self) -> Values:
        try:
            return self.source.read()
        except ReadingError as error:
            self._count(raised=1, last=str(error))
            return error.values
        except Exception as error:  # noqa: BLE001 - a source may be anything, and none may stop a run
            self._count(raised=1, last=f"{type(error).__name__}: {error}")
            return {}

    def _count(self, *, raised: int = 0, late: int = 0, missed_ticks: int = 0, last: str = "") -> None:
        was = self._faults
        self._faults = replace(
            was,
            raised=was.raised + raised,
            late=was.late + late,
            missed_ticks=was.missed_ticks + missed_ticks,
            last=last or was.last,
        )


def next_tick(tick: int, elapsed_ns: int, period_ns: int) -> int:
    """The first tick after `tick` that is not yet over, counted from the start."""
    return max(tick + 1, -(-elapsed_ns // period_ns))
