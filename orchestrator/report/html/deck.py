"""The charts of a page as one JSON value: specifications once each, rows per chart. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from orchestrator.report.html.charts import Chart, Row, Spec


@dataclass(frozen=True, slots=True)
class Deck:
    """`specs` by number; each chart's id with the number of its specification, how many plots stand side by side,
    and its rows."""

    specs: tuple[Spec, ...]
    charts: dict[str, tuple[int, int, tuple[Row, ...]]]


def deck(charts: Iterable[Chart]) -> Deck:
    """Charts that are drawn alike share a specification."""
    numbers: dict[str, int] = {}
    specs: list[Spec] = []
    found: dict[str, tuple[int, int, tuple[Row, ...]]] = {}
    for chart in charts:
        text = json.dumps(chart.spec, sort_keys=True)
        if text not in numbers:
            numbers[text] = len(specs)
            specs.append(chart.spec)
        found[chart.id] = (numbers[text], chart.columns, tuple(chart.rows))
    return Deck(tuple(specs), found)
