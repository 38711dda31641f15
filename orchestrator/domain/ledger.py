"""Where a night went: from its journal's events to seconds by phase. Pure; a journal that a crash tore, and one of
several sittings, are read as far as they go."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from pydantic import Field

from backends.contract import Value
from orchestrator.domain.result import Phase

Event = Mapping[str, Any]

GATE = "gate"
BEGINS = ("run-began", "run-resumed", "group-taken")
ENDS = ("phase-ended", "phase-failed")
WORDS = {
    Phase.IMAGE.value: "images: pull and build",
    Phase.WEIGHTS.value: "weights",
    Phase.STEPS.value: "steps",
    GATE: "waiting for a clean host",
    Phase.UP.value: "start",
    Phase.READY.value: "load",
    Phase.WARMUP.value: "warm-up",
    Phase.MEASURE.value: "measuring",
    Phase.DOWN.value: "teardown",
}
# What nobody can hurry from here: the engine loads, the host calms down, the load takes its time
WAITED = (GATE, Phase.READY.value, Phase.MEASURE.value)


class Ledger(Value):
    """Seconds of all sittings of a run together. `phases_s` by phase, in the order of a group; `failed_s` are the part
    of them that came to nothing. A sitting that was cut short ends with the last line that it wrote."""

    wall_s: float
    phases_s: dict[str, float] = Field(default_factory=dict)
    failed_s: float = 0.0
    sittings: int = 1
    cut_short: int = 0
    measured: int = 0

    @property
    def overhead_s(self) -> float:
        """Time in no phase."""
        return max(0.0, self.wall_s - sum(self.phases_s.values()))

    @property
    def measuring_share(self) -> float:
        return self.phases_s.get(Phase.MEASURE.value, 0.0) / self.wall_s if self.wall_s else 0.0

    @property
    def busy_s(self) -> float:
        """Neither measured nor waited: what the orchestrator itself takes, and what is made for engines."""
        return self.wall_s - sum(self.phases_s.get(name, 0.0) for name in WAITED)

    def record(self) -> dict[str, Any]:
        """For other programs."""
        derived = {
            "overhead_s": self.overhead_s,
            "measuring_share": self.measuring_share,
            "busy_s": self.busy_s,
        }
        return self.model_dump(mode="json") | derived


def ledger(events: Iterable[Event]) -> Ledger:
    """Of a whole run."""
    sittings = list(_sittings(events))
    every = [event for sitting in sittings for event in sitting]
    return Ledger(
        wall_s=sum(map(_wall_s, sittings)),
        phases_s=_phases_s(every),
        failed_s=sum(_took_s(event) for event in every if event.get("event") == "phase-failed"),
        sittings=len(sittings),
        cut_short=sum(not _came_to_its_end(sitting) for sitting in sittings),
        measured=sum(e.get("event") == "cell-ended" and e.get("failed") is False for e in every),
    )


def spent_s(events: Iterable[Event]) -> float:
    """What the sittings before the present one, which has just begun, took of the night's time: those since it last
    came to an end. Whoever goes on with a night that had ended gives it a new budget."""
    sittings = list(_sittings(events))[:-1]
    ended = [number for number, sitting in enumerate(sittings, 1) if _has(sitting, "run-ended")]
    return sum(map(_wall_s, sittings[max(ended, default=0) :]))


def _sittings(events: Iterable[Event]) -> Iterator[list[Event]]:
    """Events from one beginning to the next; a journal that lost its first line begins with what is left of it."""
    sitting: list[Event] = []
    for event in events:
        if event.get("event") in BEGINS and sitting:
            yield sitting
            sitting = []
        sitting.append(event)
    if sitting:
        yield sitting


def _wall_s(sitting: Sequence[Event]) -> float:
    """As it measured itself, else by the clock on the wall, which may have been set meanwhile: never less than its
    phases took."""
    inside_s = sum(_phases_s(sitting).values())
    own = [_took_s(event) for event in sitting if event.get("event") == "run-ended"]
    if own and own[-1] > 0:
        return max(own[-1], inside_s)
    times = [at for event in sitting if (at := _at(event)) is not None]
    by_clock_s = (times[-1] - times[0]).total_seconds() if times else 0.0
    return max(by_clock_s, inside_s)


def _phases_s(events: Iterable[Event]) -> dict[str, float]:
    found: dict[str, float] = {}
    for event in events:
        if event.get("event") in ENDS:
            name = str(event.get("phase", "")).split(" ", maxsplit=1)[0]
            found[name] = found.get(name, 0.0) + _took_s(event)
    known = [name for name in WORDS if name in found]
    return {name: found[name] for name in (*known, *(name for name in found if name not in WORDS))}


def _took_s(event: Event) -> float:
    took = event.get("took_s")
    return float(took) if isinstance(took, int | float) else 0.0


def _at(event: Event) -> datetime | None:
    try:
        return datetime.fromisoformat(str(event.get("at")))
    except ValueError:
        return None


def _came_to_its_end(sitting: Sequence[Event]) -> bool:
    """A group that was run alone leaves the run open."""
    return _has(sitting, "run-ended") or (_has(sitting, "group-taken") and _has(sitting, "group-ended"))


def _has(sitting: Iterable[Event], name: str) -> bool:
    return any(event.get("event") == name for event in sitting)
