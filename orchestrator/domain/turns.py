"""Where a series of runs became another one, over all of its past and not only at its newest run. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import exp, log

import numpy as np

from backends.contract import Value
from orchestrator.domain.judged import Difference, Series, differences
from orchestrator.domain.robust import location
from orchestrator.domain.series import BASELINE, Change, Point, Trend, Watched, compare, judge, levels


class Turn(Value):
    """From `run` on a figure was another one: its levels before and since, by how much they differ, over how many
    runs each, and what else had changed in that run. `trend` is REGRESSION or IMPROVEMENT."""

    figure: Watched
    run: str
    cell: str
    trend: Trend
    before: float
    after: float
    change: Change
    runs: tuple[int, int]
    differences: tuple[Difference, ...] = ()


def turns(of: Series) -> tuple[Turn, ...]:
    """Oldest first of each figure; of valid results alone, as in the judgement of the newest run."""
    return tuple(turn for figure in Watched for turn in _turns(of, figure))


def _turns(of: Series, figure: Watched) -> Iterator[Turn]:
    points = of.points(figure)
    if len(points) <= BASELINE:
        return
    begins = [*levels(np.array([log(point.value) for point in points]), figure), len(points)]
    for first, at, end in zip(begins, begins[1:], begins[2:], strict=False):
        yield _turn(of, figure, points[first:at], points[at:end])
    judged = judge(figure, points)
    known = {points[i].run for i in begins[:-1]}
    if judged.trend.is_news and judged.since not in known:
        base = [point for point in points if point.run in judged.baseline]
        yield _turn(of, figure, base, points[-1:])


def _turn(of: Series, figure: Watched, base: Sequence[Point], new: Sequence[Point]) -> Turn:
    found = compare(base, new)
    entries = {entry.run: entry for entry in of.entries}
    before, after = entries[base[-1].run], entries[new[0].run]
    return Turn(
        figure=figure,
        run=after.run,
        cell=after.cell,
        trend=_trend(figure, found),
        before=_level(base),
        after=_level(new),
        change=found,
        runs=(len(base), len(new)),
        differences=differences(before, after),
    )


def _trend(figure: Watched, found: Change) -> Trend:
    return Trend.IMPROVEMENT if (found.share > 0) is figure.more_is_better else Trend.REGRESSION


def _level(points: Sequence[Point]) -> float:
    return exp(location(np.array([log(point.value) for point in points])))
