"""Runs held against each other, cell by cell: what is the same work is paired, the rest is named. Pure."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from itertools import chain

from backends.contract import Value
from orchestrator.domain.cell import Cell
from orchestrator.domain.differences import Difference, common, differences
from orchestrator.domain.equivalence import MARGINS, Basis, effect
from orchestrator.domain.multiplicity import holm
from orchestrator.domain.reading import Figure, read
from orchestrator.domain.reasons import Level
from orchestrator.domain.result import Result
from orchestrator.errors import RequestError

SIGNIFICANT = 0.05
LEVEL = 0.95
Key = tuple[Hashable, ...]


@dataclass(frozen=True, slots=True)
class Side:
    """One or more runs of the same thing under one name; each run is its results."""

    name: str
    runs: tuple[tuple[Result, ...], ...]

    @property
    def results(self) -> tuple[Result, ...]:
        return tuple(chain.from_iterable(self.runs))


class Contrast(Value):
    """One figure of one pair of cells. `p` is that of no difference, `p_corrected` Holm's over the whole comparison.
    Both are None, as the interval is, where a run was too short to know how far the figure moves."""

    cell: str
    other_cell: str
    figure: Figure
    first: float
    second: float
    ratio: float
    low: float | None = None
    high: float | None = None
    p: float | None = None
    p_corrected: float | None = None
    basis: Basis | None = None
    runs: tuple[int, int]
    suspect: bool = False

    @property
    def significant(self) -> bool:
        return self.p_corrected is not None and self.p_corrected <= SIGNIFICANT


class Comparison(Value):
    """A side against the first one. `left_out` are cells without a partner or without figures to be believed."""

    first: str
    second: str
    paired_by: str
    contrasts: tuple[Contrast, ...]
    left_out: tuple[str, ...] = ()
    differences: tuple[Difference, ...] = ()


@dataclass(frozen=True, slots=True)
class Pair:
    """The same cell on both sides: one result per run."""

    first: tuple[Result, ...]
    second: tuple[Result, ...]


def compare(sides: Sequence[Side]) -> tuple[Comparison, ...]:
    """Every side against the first, corrected for all of it together. RequestError for mixed METHODs, and where
    nothing can be paired."""
    require_one_method([result for side in sides for result in side.results])
    drafts = [_draft(sides[0], other) for other in sides[1:]]
    tested = [c for draft in drafts for c in draft.contrasts if c.p is not None]
    corrected = dict(zip(map(id, tested), holm([c.p or 0.0 for c in tested]), strict=True))
    return tuple(
        draft.model_copy(
            update={
                "contrasts": tuple(
                    c.model_copy(update={"p_corrected": corrected.get(id(c))}) for c in draft.contrasts
                )
            }
        )
        for draft in drafts
    )


def require_one_method(results: Sequence[Result]) -> None:
    """Figures of different METHODs may not be put side by side."""
    methods = sorted({result.method for result in results})
    if len(methods) > 1:
        found = " and ".join(map(str, methods))
        raise RequestError(
            f"these runs were measured by METHODs {found}: their figures may not be compared",
            hint="measure the older ones again with this version",
        )


def paired(first: Side, second: Side) -> tuple[str, tuple[Pair, ...], tuple[str, ...]]:
    """By what cells were paired, the pairs, and who has no partner. The strictest key that pairs anything is
    taken: the same cell, else the same work of another release, profile or engine."""
    for name, key in _KEYS:
        found = _by(key, first, second)
        if found:
            alone = [_alone(key, one, other) for one, other in ((first, second), (second, first))]
            return name, found, tuple(chain.from_iterable(alone))
    raise RequestError(
        f"{first.name} and {second.name} have no cell in common",
        hint="two runs of the same model, workload and users can be compared",
    )


def usable(result: Result) -> str:
    """Why a result has no figures to compare; empty if it has."""
    if result.failure is not None or result.metrics is None:
        return f"it failed ({result.failure.cause.value})" if result.failure else "it has no figures"
    if result.verdict is not None and result.verdict.level is Level.INVALID:
        return "its figures are invalid: " + "; ".join(f.text for f in result.verdict.findings)
    return ""


def is_suspect(result: Result) -> bool:
    return result.verdict is not None and result.verdict.level is Level.SUSPECT


def _draft(first: Side, second: Side) -> Comparison:
    name, pairs, alone = paired(first, second)
    faults = [f"{r.cell.id}: {usable(r)}" for p in pairs for r in (*p.first, *p.second) if usable(r)]
    return Comparison(
        first=first.name,
        second=second.name,
        paired_by=name,
        contrasts=tuple(c for pair in pairs for c in _contrasts(pair)),
        left_out=(*alone, *dict.fromkeys(faults)),
        differences=common(differences(p.first[0], other) for p in pairs for other in p.second),
    )


def _contrasts(pair: Pair) -> list[Contrast]:
    good = Pair(*(tuple(r for r in side if not usable(r)) for side in (pair.first, pair.second)))
    found = [_contrast(good, figure) for figure in MARGINS] if good.first and good.second else []
    return [contrast for contrast in found if contrast is not None]


def _contrast(pair: Pair, figure: Figure) -> Contrast | None:
    sides = [
        [reading for r in side if (reading := read(r, figure)) is not None]
        for side in (pair.first, pair.second)
    ]
    first, second = sides
    if not first or not second:
        return None
    found = effect(first, second)
    means = [sum(reading.value for reading in side) / len(side) for side in sides]
    plain = Contrast(
        cell=pair.first[0].cell.id,
        other_cell=pair.second[0].cell.id,
        figure=figure,
        first=means[0],
        second=means[1],
        ratio=means[1] / means[0],
        runs=(len(first), len(second)),
        suspect=any(is_suspect(r) for r in (*pair.first, *pair.second)),
    )
    if found is None:
        return plain
    low, high = found.interval(LEVEL)
    known = {"ratio": found.ratio, "low": low, "high": high, "p": found.p_same, "basis": found.basis}
    return plain.model_copy(update=known)


def _by(key: Callable[[Cell], Key], first: Side, second: Side) -> tuple[Pair, ...]:
    """Pairs of what has one partner in each run; a run that holds a key twice is not told apart by it."""
    mine, theirs = (_cells(key, side) for side in (first, second))
    return tuple(Pair(mine[k], theirs[k]) for k in mine if k in theirs)


def _cells(key: Callable[[Cell], Key], side: Side) -> dict[Key, tuple[Result, ...]]:
    found: dict[Key, list[Result]] = {}
    for run in side.runs:
        keys = [key(result.cell) for result in run]
        for k, result in zip(keys, run, strict=True):
            if keys.count(k) == 1:
                found.setdefault(k, []).append(result)
    return {k: tuple(results) for k, results in found.items()}


def _alone(key: Callable[[Cell], Key], side: Side, other: Side) -> list[str]:
    theirs = _cells(key, other)
    cells = dict.fromkeys(r.cell.id for r in side.results if key(r.cell) not in theirs)
    return [f"{cell_id}: only in {side.name}" for cell_id in cells]


def _work(cell: Cell) -> Key:
    return cell.group.compared_as, cell.group.workload.id, cell.load


def _same(cell: Cell) -> Key:
    group = cell.group
    return (
        *_work(cell),
        group.backend,
        group.release,
        group.profile,
        group.model,
        group.extra_args,
        group.prefix_caching,
    )


def _profile(cell: Cell) -> Key:
    return *_work(cell), cell.group.backend, cell.group.profile


def _backend(cell: Cell) -> Key:
    return *_work(cell), cell.group.backend


_KEYS: tuple[tuple[str, Callable[[Cell], Key]], ...] = (
    ("the same cell", _same),
    ("the same backend and profile", _profile),
    ("the same backend", _backend),
    ("the same model, workload and load", _work),
)
