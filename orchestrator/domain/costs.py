"""What phases cost on this host so far, for a plan's estimate. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import median

from backends.contract import Accelerator
from orchestrator.domain.entry import Entry
from orchestrator.domain.result import Phase


@dataclass(frozen=True, slots=True)
class Work:
    """What costs alike: a phase of a backend's release with a model. What caches save is part of what is usual."""

    phase: Phase
    backend: str
    release: str
    model: str
    accelerator: Accelerator | None
    runtime: str


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds, over so many deployments (cells, for the measuring itself): the usual, the most, the last."""

    median_s: float
    max_s: float
    last_s: float
    times: int


def phase_costs(entries: Iterable[Entry], *, hardware_key: str | None = None) -> Mapping[Work, Cost]:
    """Of that hardware, or of all. A group's cells each repeat its phases: they count once a group; measuring and
    what comes after it is each cell's own."""
    seen: dict[Work, dict[tuple[str, ...], float]] = {}
    for entry in sorted(entries, key=lambda e: (e.started_at, e.run)):
        if hardware_key not in (None, entry.hardware_key):
            continue
        for phase, seconds in entry.phases_s.items():
            once = (entry.run, entry.group, *([entry.cell] if phase is Phase.MEASURE else []))
            seen.setdefault(_work(phase, entry), {}).setdefault(once, seconds)
    return {work: _cost(list(found.values())) for work, found in seen.items()}


def _work(phase: Phase, of: Entry) -> Work:
    return Work(phase, of.backend, of.release, of.model, of.accelerator, of.runtime)


def _cost(seconds: list[float]) -> Cost:
    return Cost(median(seconds), max(seconds), seconds[-1], len(seconds))
