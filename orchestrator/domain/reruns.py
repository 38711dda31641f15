"""What must be measured again the same night before a change is believed, and what follows from it. Pure.

The cell itself once more: whether the change is there at all. The cell with the last good run's engine, on the host
as it is tonight: if that is as slow, the engine is not what changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from math import log

from backends.contract import Value
from orchestrator.domain.entry import Entry, Trait
from orchestrator.domain.judged import Difference, Judged, Part, parts
from orchestrator.domain.plan import GroupPlan
from orchestrator.domain.reasons import Level
from orchestrator.domain.series import Judgement, Point, Trend, compare


class Kind(str, Enum):
    """What a re-run is for."""

    AGAIN = "again"
    LAST_GOOD = "last-good"


class Rerun(Value):
    """A cell to be measured again as the plan of `run` has it; from the image of that digest if one is given."""

    kind: Kind
    run: str
    group: str
    cell: str
    image: str | None = None


class Cause(str, Enum):
    """Whose doing a confirmed change is."""

    ENGINE = "engine"
    HOST = "host"
    MODEL = "model"
    PROMPTS = "prompts"
    LEVELBENCH = "levelbench"
    UNKNOWN = "unknown"


class Conclusion(Value):
    """Whether the change is there (None: nobody could measure it again), and whose doing it is; `tried` says that
    the cause was found by an experiment, not by what was noted alone. `candidates` are left to be looked at."""

    confirmed: bool | None
    cause: Cause
    tried: bool = False
    candidates: tuple[Difference, ...] = ()


def confirmations(flagged: Iterable[Judged], image_here: Callable[[Rerun], bool]) -> tuple[Rerun, ...]:
    """For every regression and improvement: the cell again, and as the last good run had it, from its image, where
    that was another one and is still here."""
    found: list[Rerun] = []
    for one in flagged:
        if one.trend not in (Trend.REGRESSION, Trend.IMPROVEMENT):
            continue
        found.append(_rerun(Kind.AGAIN, one.newest, None))
        image = one.last_good.traits.get(Trait.IMAGE) if one.last_good else None
        if one.last_good and image and image != one.newest.traits.get(Trait.IMAGE):
            before = _rerun(Kind.LAST_GOOD, one.last_good, image)
            found += [before] if image_here(before) else []
    return tuple(found)


def pinned(plan: GroupPlan, rerun: Rerun) -> GroupPlan:
    """The plan of a re-run, out of the plan of the group that it repeats: that cell alone, and that image."""
    loads = tuple(cell.load for cell in plan.group.cells if cell.id == rerun.cell)
    image = plan.image if rerun.image is None else plan.image.model_copy(update={"digest": rerun.image})
    return plan.model_copy(update={"group": plan.group.model_copy(update={"loads": loads}), "image": image})


def conclude(of: Judged, again: Entry | None, last_good: Entry | None) -> Conclusion:
    """`again` and `last_good` are what the re-runs came to; None where one was not made."""
    if again is None or not _says(of, again):
        return Conclusion(confirmed=None, cause=_noted(of.differences), candidates=of.differences)
    if not _as_changed(of, again):
        return Conclusion(confirmed=False, cause=Cause.UNKNOWN)
    if last_good is None or not _says(of, last_good):
        return Conclusion(confirmed=True, cause=_noted(of.differences), candidates=of.differences)
    engine = tuple(d for d in of.differences if d.part is Part.ENGINE)
    others = tuple(d for d in of.differences if d.part is not Part.ENGINE)
    if not _as_changed(of, last_good):
        return Conclusion(confirmed=True, cause=Cause.ENGINE, tried=True, candidates=engine)
    cause = Cause.HOST if set(parts(others)) <= {Part.HOST} else Cause.UNKNOWN
    return Conclusion(confirmed=True, cause=cause, tried=True, candidates=others)


def _rerun(kind: Kind, of: Entry, image: str | None) -> Rerun:
    return Rerun(kind=kind, run=of.run, group=of.group, cell=of.cell, image=image)


def _noted(found: Sequence[Difference]) -> Cause:
    """The only thing that changed, if there is only one."""
    of = parts(found)
    return Cause(of[0].value) if len(of) == 1 else Cause.UNKNOWN


def _says(of: Judged, rerun: Entry) -> bool:
    """Whether a re-run speaks to what was flagged: one that fails says nothing of how fast it would have been."""
    failed = of.newest.failure is not None and rerun.failure is not None
    return failed or rerun.verdict is Level.VALID


def _as_changed(of: Judged, rerun: Entry) -> bool:
    """Whether a re-run shows the change: in any figure that was flagged."""
    if of.newest.failure is not None:
        return rerun.failure is not None
    return any(_shows(of, judgement, rerun) for judgement in of.flagged)


def _shows(of: Judged, judgement: Judgement, rerun: Entry) -> bool:
    point = rerun.figures.get(judgement.figure)
    base = [p for p in of.series.points(judgement.figure) if p.run in judgement.baseline]
    return point is not None and shows(judgement, base, point)


def shows(judgement: Judgement, base: Sequence[Point], rerun: Point) -> bool:
    """Whether a re-run shows a change again: nearer to the new level than to the old one, and away from that by what
    matters. `base` are the points that the judgement was made against."""
    newest, before = judgement.newest, judgement.before
    if newest is None or before is None:
        return False
    nearer = abs(log(rerun.value / newest.value)) < abs(log(rerun.value / before))
    return nearer and abs(compare(base, [rerun]).share) >= judgement.figure.least_change
