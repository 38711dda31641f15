"""Follows a cell's GPUs while a load runs: their readings, strangers on them, Xids, and whether they are lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from orchestrator.domain.looks import GpuProcess, Sighting
from orchestrator.host.gpu import Nvml
from orchestrator.host.gpu_state import process_name
from orchestrator.host.locks import exists
from orchestrator.host.telemetry import ReadingError, Source
from orchestrator.host.xids import KMSG, DriverEvents, KernelLog

Pids = frozenset[int]


class GpuWatch:
    """One source for each GPU, with an NVML of its own, since a GPU that is lost can hang its reader alone, and
    one for the kernel's log. `ours` tells the engine's processes, None where they cannot be told."""

    def __init__(
        self,
        uuids: Sequence[str],
        ours: Callable[[], Pids | None],
        *,
        kernel_log: Path = KMSG,
        clock: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        self._uuids = uuids
        self._ours = ours
        self._kernel_log = kernel_log
        self._clock = clock
        self._sightings: list[Sighting] = []

    def sources(self) -> tuple[Source, ...]:
        gpus = tuple(self._source(Nvml().open(), uuid) for uuid in self._uuids)
        log = KernelLog.opened(self._kernel_log, self._uuids) if self._uuids else None
        return gpus if log is None else (*gpus, Source("kernel-log", log.read, log.close))

    def sightings(self, from_ns: int, to_ns: int) -> tuple[Sighting, ...]:
        """Of strangers, the first of each within the span."""
        first: dict[tuple[str, int], Sighting] = {}
        for seen in [s for s in list(self._sightings) if from_ns <= s.t_ns <= to_ns]:
            first.setdefault((seen.gpu, seen.process.pid), seen)
        return tuple(first.values())

    def _source(self, nvml: Nvml, uuid: str) -> Source:
        events = DriverEvents(nvml, uuid)

        def read() -> dict[str, float]:
            faults, before = nvml.faults[uuid], self._ours()
            values = {**nvml.read(uuid), **events.read()}
            title = nvml.title(uuid)
            values |= self._strangers(nvml, uuid, title, before)
            values[f"{title}.lost"] = float(uuid in nvml.lost)
            if nvml.faults[uuid] > faults:
                raise ReadingError(nvml.last_fault, values)
            return values

        def close() -> None:
            events.close()
            nvml.close()

        return Source(f"gpu-{uuid}", read, close)

    def _strangers(self, nvml: Nvml, uuid: str, title: str, before: Pids | None) -> dict[str, float]:
        """Ours are asked for before and after, since they come and go. Nothing where they cannot be told: of
        this deployment, or since the driver numbers processes as another pid namespace does."""
        found, after = nvml.processes(uuid), self._ours()
        if found is None or before is None or after is None or not all(exists(p.pid) for p in found):
            return {}
        strange = [p for p in found if p.pid not in before | after]
        now_ns = self._clock()
        for p in strange:
            process = GpuProcess(
                pid=p.pid, name=process_name(p.pid), memory_bytes=p.memory_bytes, graphics=p.graphics
            )
            self._sightings.append(Sighting(now_ns, title, process))
        return {f"{title}.foreign_processes": len(strange)}
