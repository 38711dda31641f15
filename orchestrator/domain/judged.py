"""Entries -> series -> what each says of its newest run. Pure.

A series is one cell on one hardware, measured by one METHOD. Only valid results are held against each other; that
a cell which used to be valid now fails is a regression too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

from backends.contract import Value
from orchestrator.domain.cell import Role
from orchestrator.domain.entry import Entry, Trait
from orchestrator.domain.reasons import Level
from orchestrator.domain.series import Judgement, Point, Trend, Watched, judge


class Part(str, Enum):
    """What a difference belongs to: who has to be asked about it."""

    ENGINE = "engine"
    MODEL = "model"
    PROMPTS = "prompts"
    HOST = "host"
    LEVELBENCH = "levelbench"


PARTS = {
    Trait.ENGINE_VERSION: Part.ENGINE,
    Trait.IMAGE: Part.ENGINE,
    Trait.BASE_IMAGE: Part.ENGINE,
    Trait.ARGV: Part.ENGINE,
    Trait.ENV: Part.ENGINE,
    Trait.WEIGHTS: Part.MODEL,
    Trait.PROMPTS: Part.PROMPTS,
    Trait.DRIVER: Part.HOST,
    Trait.KERNEL: Part.HOST,
    Trait.SYSTEM: Part.HOST,
    Trait.RUNTIME: Part.HOST,
    Trait.GPUS: Part.HOST,
    Trait.PYTHON: Part.LEVELBENCH,
    Trait.LEVELBENCH: Part.LEVELBENCH,
    Trait.PACKAGES: Part.LEVELBENCH,
}


class Difference(Value):
    """One thing that two runs did not have in common; None where one of them did not note it."""

    trait: Trait
    before: str | None
    after: str | None

    @property
    def part(self) -> Part:
        return PARTS[self.trait]


@dataclass(frozen=True, slots=True)
class Series:
    """Its entries, oldest first; `elsewhere` says why earlier runs of the cell are not among them."""

    entries: tuple[Entry, ...]
    elsewhere: str = ""

    @property
    def newest(self) -> Entry:
        return self.entries[-1]

    @property
    def valid(self) -> tuple[Entry, ...]:
        return tuple(entry for entry in self.entries if entry.verdict is Level.VALID)

    def points(self, figure: Watched) -> tuple[Point, ...]:
        return tuple(entry.figures[figure] for entry in self.valid if figure in entry.figures)


@dataclass(frozen=True, slots=True)
class Judged:
    """What a series says of its newest run: of each figure, of all together (`reason` says why where it is not for
    a figure), the last run that was as it should be, and what has changed since."""

    series: Series
    trend: Trend
    reason: str = ""
    judgements: tuple[Judgement, ...] = ()
    last_good: Entry | None = None
    differences: tuple[Difference, ...] = ()

    @property
    def newest(self) -> Entry:
        return self.series.newest

    @property
    def flagged(self) -> tuple[Judgement, ...]:
        return tuple(j for j in self.judgements if j.trend is self.trend)


def series(entries: Iterable[Entry]) -> tuple[Series, ...]:
    """One per cell and hardware, of the newest METHOD only, in the order of backends, models, workloads and loads.
    What was measured only to confirm a change is part of none: it was picked for what had been found. A run that was
    brought back beside itself, which one and the same moment tells, counts once."""
    kept = (entry for entry in entries if entry.role is not Role.CONFIRM)
    ordered = sorted(kept, key=lambda e: (e.started_at, e.run))
    once: dict[tuple[str, str | None, str], Entry] = {}
    for entry in ordered:
        once.setdefault((entry.cell_key, entry.hardware_key, entry.started_at), entry)
    ordered = list(once.values())
    known: dict[tuple[str, str | None], list[Entry]] = {}
    for entry in ordered:
        known.setdefault((entry.cell_key, entry.hardware_key), []).append(entry)
    found = [_series(of, ordered) for of in known.values()]
    return tuple(sorted(found, key=lambda s: _place(s.newest)))


def judged(of: Series) -> Judged:
    """Every figure of its newest run, if that may be judged at all."""
    newest, valid = of.newest, of.valid
    if newest.hardware_key is None:
        return Judged(of, Trend.NOT_COMPARABLE, "nobody noted what it ran on")
    if newest.failure is not None:
        return _failed(of)
    if newest.verdict is not Level.VALID:
        level = newest.verdict.value if newest.verdict else "not judged"
        return Judged(of, Trend.NOT_COMPARABLE, f"the newest run is {level}")
    judgements = tuple(judge(figure, of.points(figure)) for figure in Watched if figure in newest.figures)
    trend = _worst([j.trend for j in judgements])
    if trend is Trend.NOT_ENOUGH and of.elsewhere:
        return Judged(of, Trend.NOT_COMPARABLE, of.elsewhere, judgements)
    last_good = _last_good(valid, [j for j in judgements if j.trend is trend])
    if not trend.is_news or last_good is None:
        return Judged(of, trend, "", judgements)
    return Judged(of, trend, "", judgements, last_good, differences(last_good, newest))


def differences(before: Entry, after: Entry) -> tuple[Difference, ...]:
    """What could have made the difference between two runs of one cell on one hardware. What a failed run could not
    note is no difference."""
    failed = after.failure is not None
    return tuple(
        Difference(trait=trait, before=before.traits.get(trait), after=after.traits.get(trait))
        for trait in Trait
        if before.traits.get(trait) != after.traits.get(trait) and not (failed and trait not in after.traits)
    )


def parts(of: Sequence[Difference]) -> tuple[Part, ...]:
    """What the differences belong to, each once."""
    return tuple(dict.fromkeys(difference.part for difference in of))


def _series(entries: Sequence[Entry], everything: Sequence[Entry]) -> Series:
    method = max(entry.method for entry in entries)
    mine = tuple(entry for entry in entries if entry.method == method)
    older = sorted({e.method for e in entries if e.method != method})
    if older:
        return Series(mine, f"earlier runs have METHOD {', '.join(map(str, older))}")
    others = {e.hardware: None for e in everything if _moved(e, mine[0])}
    return Series(mine, f"earlier runs were on {'; '.join(others)}" if others else "")


def _moved(entry: Entry, first: Entry) -> bool:
    """Whether it is an earlier run of the same cell on other hardware."""
    return (
        entry.cell_key == first.cell_key
        and entry.hardware_key not in (None, first.hardware_key)
        and entry.started_at < first.started_at
    )


def _failed(of: Series) -> Judged:
    newest, valid = of.newest, of.valid
    cause = newest.failure.value if newest.failure else ""
    where = f" in {newest.failed_in.value}" if newest.failed_in else ""
    if not valid:
        return Judged(of, Trend.NOT_COMPARABLE, f"it failed{where} ({cause}), and never had a valid result")
    reason = f"it failed{where} ({cause}) after {len(valid)} valid"
    return Judged(of, Trend.REGRESSION, reason, (), valid[-1], differences(valid[-1], newest))


def _worst(trends: Sequence[Trend]) -> Trend:
    order = (Trend.REGRESSION, Trend.IMPROVEMENT, Trend.STEADY, Trend.NOT_ENOUGH)
    return min(trends, key=order.index, default=Trend.NOT_ENOUGH)


def _last_good(valid: Sequence[Entry], flagged: Sequence[Judgement]) -> Entry | None:
    names = {judgement.baseline[-1] for judgement in flagged if judgement.baseline}
    return next((entry for entry in reversed(valid) if entry.run in names), None)


def _place(entry: Entry) -> tuple[str, str, str, str, float, str]:
    return (
        entry.backend,
        entry.model,
        entry.workload,
        entry.load.system_prompt.value,
        entry.load.size,
        entry.hardware,
    )
