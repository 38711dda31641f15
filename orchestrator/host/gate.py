"""The clean-room gate: looks at the host until it is clean, or until its time is up; then says what it saw.

What GPUs idle at is learnt and kept in the cache folder (`idle.json`); see docs/clean-room.md.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
from pydantic import ValidationError

from orchestrator.domain import cleanroom
from orchestrator.domain.cleanroom import Cleared, InTheWay, Known, Moment, Wanted
from orchestrator.domain.looks import HostState, Snapshot
from orchestrator.errors import HostError, NotCleanError
from orchestrator.host.facts import usable_cpus
from orchestrator.host.gpu import Nvml
from orchestrator.host.gpu_state import states
from orchestrator.host.locks import file_lock
from orchestrator.store import files

FILE = "idle.json"
LEAST_S = 0.2  # the kernel counts CPU time in hundredths of a second


@dataclass(frozen=True, slots=True)
class Pace:
    """How often the gate looks, and how long it waits for what may pass: before a deployment a GPU may have to
    cool down, after a teardown the driver takes a while to release memory."""

    poll_s: float = 0.5
    before_s: float = 300.0
    after_s: float = 120.0
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def deadline_s(self, moment: Moment) -> float:
        return self.before_s if moment is Moment.BEFORE else self.after_s


@dataclass(frozen=True, slots=True)
class Gate:
    """One place to pass. `leftovers` tells what dead runs of ours left alive."""

    cache_dir: Path
    wanted: Wanted
    leftovers: Callable[[], tuple[str, ...]]
    pace: Pace = Pace()

    def look(self, moment: Moment, progress: Callable[[str], None]) -> Cleared:
        """Wait until nothing is in the way any more, or the deadline; what it came to."""
        pace, wanted, known, cpu = self.pace, self.wanted, self._known(), _Others()
        began_s, told = pace.clock(), ""
        looks: list[Snapshot] = []
        while True:
            looks.append(self._snapshot(pace.clock() - began_s, cpu))
            elapsed_s = looks[-1].elapsed_s
            found = cleanroom.in_the_way(moment, looks, known, wanted)
            if not found or not all(thing.passes for thing in found) or elapsed_s > pace.deadline_s(moment):
                break
            if (text := _waiting(found)) != told and len(looks) >= wanted.looks(moment):
                progress(text)
                told = text
            pace.sleep(pace.poll_s)
        if not found and moment is Moment.BEFORE:
            self._learn(looks)
        return Cleared(
            moment=moment,
            snapshot=looks[-1],
            known=known.of([looks[-1].gpu(uuid) for uuid in wanted.gpus]),
            remarks=cleanroom.remarks(looks, known, wanted) if moment is Moment.BEFORE else (),
            in_the_way=found,
        )

    def _snapshot(self, elapsed_s: float, cpu: _Others) -> Snapshot:
        """NVML is opened anew each time: a GPU that fell off the bus and came back has another handle."""
        if not self.wanted.gpus:
            return Snapshot(elapsed_s=elapsed_s, host=self._host(cpu))
        with Nvml() as nvml:
            gpus, silent = states(nvml), nvml.broken or ((nvml.absence,) if nvml.absence else ())
        return Snapshot(elapsed_s=elapsed_s, silent=silent, gpus=gpus, host=self._host(cpu))

    def _host(self, cpu: _Others) -> HostState:
        return HostState(
            memory_available_bytes=psutil.virtual_memory().available,
            cpus=usable_cpus(),
            others_cpus=cpu.since_before(),
            load_1m=psutil.getloadavg()[0],
            leftovers=self.leftovers(),
        )

    def _known(self) -> Known:
        path = self.cache_dir / FILE
        try:
            return Known.model_validate_json(path.read_bytes()) if path.exists() else Known()
        except (OSError, ValidationError) as error:
            raise HostError(
                f"{path}, which holds what GPUs idle at, cannot be read: {error}",
                hint="mend it, or remove it: idles are learnt anew then",
            ) from error

    def _learn(self, looks: list[Snapshot]) -> None:
        """Under a lock, since a run with another cache may not share it but a second program may."""
        path = self.cache_dir / FILE
        with file_lock(path.with_suffix(".lock"), "notes what GPUs idle at"):
            known = cleanroom.learnt(self._known(), looks, self.wanted)
            files.write_atomically(path, known.model_dump_json(indent=1).encode() + b"\n")


def require(cleared: Cleared) -> None:
    """NotCleanError that lists what is in the way, with the next step for each."""
    if not cleared.in_the_way:
        return
    listed = "; ".join(thing.text for thing in cleared.in_the_way)
    waited_s = cleared.snapshot.elapsed_s
    steps = dict.fromkeys(thing.next_step for thing in cleared.in_the_way if thing.next_step)
    what = (
        f"this host is not clean, {waited_s:.0f} s were waited"
        if cleared.moment is Moment.BEFORE
        else f"the engine is gone, but {waited_s:.0f} s later the host is not as it was before"
    )
    raise NotCleanError(f"{what}: {listed}", hint="; ".join(steps) or "look again, then run again")


def _waiting(found: tuple[InTheWay, ...]) -> str:
    return f"waiting for {', '.join(thing.text for thing in found)}"


class _Others:
    """CPUs' worth of time that processes other than this one and its children used between two looks."""

    def __init__(self) -> None:
        self._before: tuple[float, float] | None = None

    def since_before(self) -> float | None:
        """None at the first look, and where two are too near to each other."""
        now = (time.monotonic(), _used_s())
        before, self._before = self._before, now
        if before is None or now[0] - before[0] < LEAST_S:
            return None
        return min(max(0.0, (now[1] - before[1]) / (now[0] - before[0])), float(usable_cpus()))


def _used_s() -> float:
    """CPU seconds of the whole machine, without ours and without what a hypervisor took."""
    times, own = psutil.cpu_times(), psutil.Process().cpu_times()
    busy = times.user + times.nice + times.system + times.irq + times.softirq
    return float(busy - own.user - own.system)
