"""What must be measured again the same night before a change is believed, and what follows from it. Pure.

The cell itself once more: whether the change is there at all. The cell with the last good run's engine, on the host
as it is tonight: if that is as slow, the engine is not what changed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum
from math import log

from pydantic import Field

from backends.contract import Value
from orchestrator.domain.cell import Role
from orchestrator.domain.entry import Entry, Trait
from orchestrator.domain.judged import Difference, Judged, Part, parts
from orchestrator.domain.plan import GroupPlan
from orchestrator.domain.reasons import Level
from orchestrator.domain.series import Judgement, Point, Trend, compare

STAMP = len("20261128-020000")  # of a run's name


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

    @property
    def deployment(self) -> tuple[Kind, str, str, str | None]:
        """Equal for re-runs that one deployment can serve."""
        return self.kind, self.run, self.group, self.image


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


class Changed(Value):
    """What looked like a change of a cell, in words, and what measuring it again came to. `reruns` are the cells in
    which that was done, those that could be run."""

    cell: str
    trend: Trend
    found: str
    conclusion: Conclusion
    reruns: dict[Kind, str] = Field(default_factory=dict)


def confirmations(flagged: Iterable[Judged], image_here: Callable[[Rerun], bool]) -> tuple[Rerun, ...]:
    """For every regression and improvement: the cell again, and as the last good run had it, from its image, where
    that was another one and is still here."""
    found: list[Rerun] = []
    for one in flagged:
        if not one.trend.is_news:
            continue
        found.append(_rerun(Kind.AGAIN, one.newest, None))
        image = one.last_good.traits.get(Trait.IMAGE) if one.last_good else None
        if one.last_good and image and image != one.newest.traits.get(Trait.IMAGE):
            before = _rerun(Kind.LAST_GOOD, one.last_good, image)
            found += [before] if image_here(before) else []
    return tuple(found)


def gathered(reruns: Iterable[Rerun]) -> tuple[tuple[Rerun, ...], ...]:
    """Those that one deployment can serve together."""
    found: dict[object, list[Rerun]] = defaultdict(list)
    for one in reruns:
        found[one.deployment].append(one)
    return tuple(map(tuple, found.values()))


def pinned(plan: GroupPlan, reruns: Sequence[Rerun]) -> GroupPlan:
    """The plan of re-runs of one deployment, out of the plan of the group that they repeat: those cells alone, that
    image, and a name of its own, so that they are never taken for the run's own cells."""
    first, wanted = reruns[0], {rerun.cell for rerun in reruns}
    group = plan.group.model_copy(
        update={
            "loads": tuple(cell.load for cell in plan.group.cells if cell.id in wanted),
            "role": Role.CONFIRM,
            "mark": "-".join([*([plan.group.mark] if plan.group.mark else []), _mark(first)]),
        }
    )
    image = plan.image if first.image is None else plan.image.model_copy(update={"digest": first.image})
    return plan.model_copy(update={"group": group, "image": image})


def cell(rerun: Rerun, plan: GroupPlan) -> str:
    """What the cell of a re-run is called in the plan that was made of it."""
    return plan.group.id + rerun.cell.removeprefix(rerun.group)


def changed(of: Judged, found: str, cells: Mapping[Rerun, str], entries: Mapping[str, Entry]) -> Changed:
    """What becomes of a change: `cells` are those of all re-runs, `entries` what they came to."""
    mine = {(one.run, one.cell) for one in (of.newest, of.last_good) if one is not None}
    reruns = {rerun.kind: name for rerun, name in cells.items() if (rerun.run, rerun.cell) in mine}
    again, last_good = (entries.get(reruns.get(kind, "")) for kind in (Kind.AGAIN, Kind.LAST_GOOD))
    return Changed(
        cell=of.newest.cell,
        trend=of.trend,
        found=found,
        conclusion=conclude(of, again, last_good),
        reruns={kind: name for kind, name in reruns.items() if name in entries},
    )


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


def _mark(rerun: Rerun) -> str:
    """With the time of the run that it repeats, where that is not tonight's."""
    return rerun.kind.value if rerun.kind is Kind.AGAIN else f"{rerun.kind.value}-{rerun.run[:STAMP]}"


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
