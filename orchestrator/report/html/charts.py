"""Vega-Lite specifications of a report's charts. Pure: rows in, JSON out; colours come from the page's theme.

An engine keeps its colour and its shape on the whole page. A suspect figure is hollow with a `?`, an invalid one
hollow with a `!` and joined to no line: never by colour alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Spec = dict[str, Any]
Row = dict[str, Any]

SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"
SHAPES = (
    "circle",
    "square",
    "triangle-up",
    "diamond",
    "cross",
    "triangle-down",
    "triangle-right",
    "triangle-left",
)
INVALID = "!"
HEIGHT = 220
# Which numbers of each decade get a label on a logarithmic axis: as many as there is room for.
STEPS = (tuple(range(1, 10)), (1, 2, 5), (1,))
MOST_TICKS = 9
# What tells deployments of one engine apart stands in brackets: on a line of its own, so that it can be read whole.
NAME_LINES = r"split(replace(datum.label, ' (', '\n('), '\n')"


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart and its rows, apart: many charts share a specification. `columns` is how many plots stand side by
    side, so that the page can share out its width; `about` says in words what is drawn."""

    id: str
    title: str
    about: str
    spec: Spec
    rows: Sequence[Row]
    columns: int = 1
    note: str = ""


def over_loads(rows: Sequence[Row], engines: Sequence[str], *, x: str, y: str, title: str) -> Spec:
    """A figure against loads, `x` says of what, a line per engine, with its interval where there is one."""
    return {
        **_base(),
        "height": HEIGHT,
        "layer": _points(rows, engines, _loads(rows, x), _value(y, title, rows)),
    }


def over_loads_by(
    rows: Sequence[Row], engines: Sequence[str], *, x: str, y: str, title: str, by: str, order: Sequence[str]
) -> Spec:
    """The same on a logarithmic axis, side by side for each value of `by`."""
    present = [value for value in order if any(row[by] == value for row in rows)]
    return {
        **_base(),
        "facet": {"column": _facet(by, present)},
        "spec": {
            "height": HEIGHT,
            "layer": _points(
                rows,
                engines,
                _loads(rows, x),
                _log(y, title, [row[end] for row in rows for end in (y, "low", "high") if end in row]),
            ),
        },
    }


def scatter(rows: Sequence[Row], engines: Sequence[str], *, x: str, x_title: str, y: str, title: str) -> Spec:
    """One figure against another: a point per cell, its load beside it."""
    horizontal = {"field": x, "type": "quantitative", "title": x_title, "scale": {"domain": [0, 100]}}
    labels = {
        "mark": {"type": "text", "align": "left", "dx": 8, "dy": -7, "style": "label"},
        "encoding": {
            "x": horizontal,
            "y": _value(y, title, rows),
            "text": {"field": "label", "type": "nominal"},
        },
    }
    return {
        **_base(),
        "height": 300,
        "layer": [_point_layer(engines, horizontal, _value(y, title, rows)), labels],
    }


def curves(rows: Sequence[Row], engines: Sequence[str], loads: Sequence[str], *, title: str) -> Spec:
    """Which share was answered within how long, side by side for each load; suspect ones are dashed."""
    x = _log("ms", title, [row["ms"] for row in rows])
    y = {
        "field": "share",
        "type": "quantitative",
        "title": "share within that time",
        "axis": {"format": ".0%", "values": [0, 0.25, 0.5, 0.75, 0.95]},
        "scale": {"domain": [0, 1]},
    }
    dash = {
        "field": "mark",
        "type": "nominal",
        "scale": {"domain": ["", "?", "!"], "range": [[1, 0], [5, 3], [1, 3]]},
        "legend": None,
    }
    line = {
        "mark": {"type": "line", "interpolate": "monotone", "strokeWidth": 1.6},
        "encoding": {
            "x": x,
            "y": y,
            "color": _color(engines),
            "strokeDash": dash,
            "detail": [{"field": "cell", "type": "nominal"}],
            "order": {"field": "share", "type": "quantitative"},
        },
    }
    ends = {
        "transform": [{"filter": "datum.end"}],
        "mark": {"type": "point", "size": 46, "filled": True, "opacity": 1, "tooltip": {"content": "data"}},
        "encoding": {
            "x": x,
            "y": y,
            "color": _color(engines),
            "shape": _shape(engines),
            "tooltip": _tooltip(),
        },
    }
    return {
        **_base(),
        "facet": {"column": _facet("load", loads)},
        "spec": {"height": 180, "layer": [line, ends, *_mark_layer(rows, x, y, "datum.end")]},
    }


def phases(rows: Sequence[Row], order: Sequence[str]) -> Spec:
    """Seconds of each phase until an engine served, one bar per engine."""
    engines = list(dict.fromkeys(row["engine"] for row in rows))
    return {
        **_base(),
        "height": 36 * len(engines),
        "mark": {"type": "bar", "size": 14},
        "encoding": {
            "y": {
                "field": "engine",
                "type": "nominal",
                "sort": None,
                "scale": {"domain": engines},
                "title": None,
                "axis": _names_axis(),
            },
            "x": {"field": "seconds", "type": "quantitative", "title": "seconds", "axis": {"tickCount": 8}},
            "color": {
                "field": "phase",
                "type": "ordinal",
                "scale": {"domain": list(order)},
                "legend": _legend(),
            },
            "order": {"field": "place", "type": "quantitative"},
            "tooltip": _tooltip(),
        },
    }


def over_time(rows: Sequence[Row], engines: Sequence[str], *, y: str, title: str) -> Spec:
    """A series over many runs: each run a point, change points as dashed rules with their words."""
    x = {
        "field": "at",
        "type": "temporal",
        "title": None,
        "axis": {"format": "%Y-%m-%d", "tickCount": 5, "labelOverlap": True},
    }
    rules = {
        "transform": [{"filter": "datum.change != ''"}],
        "mark": {"type": "rule", "strokeDash": [4, 3], "style": "change"},
        "encoding": {"x": x, "tooltip": [{"field": "change", "type": "nominal", "title": "change"}]},
    }
    words = {
        "transform": [{"filter": "datum.change != ''"}],
        "mark": {"type": "text", "align": "left", "dx": 4, "y": 8, "style": "change-label"},
        "encoding": {"x": x, "text": {"field": "short", "type": "nominal"}},
    }
    changed = any(row["change"] for row in rows)
    points = _points(rows, engines, x, _value(y, title, rows), line_order="at")
    return {**_base(), "height": 130, "layer": [*([rules, words] if changed else []), *points]}


def _base() -> Spec:
    return {"$schema": SCHEMA, "data": {"name": "rows"}}


def _loads(rows: Sequence[Row], title: str) -> Spec:
    """Loads as steps, at equal distances: 10, 50 and 100 users are three settings, not a scale."""
    order = list(dict.fromkeys(row["load"] for row in sorted(rows, key=lambda row: float(row["size"]))))
    return {"field": "load", "type": "ordinal", "sort": order, "title": title, "axis": {"labelAngle": 0}}


def _value(y: str, title: str, rows: Sequence[Row]) -> Spec:
    """From zero on; intervals count for where the axis ends."""
    top = max((row[end] for row in rows for end in (y, "high") if end in row), default=0.0)
    return {
        "field": y,
        "type": "quantitative",
        "title": title,
        "scale": {"domain": [0, top or 1], "nice": True},
        "axis": {"tickCount": 5},
    }


def _log(field: str, title: str, values: Sequence[float]) -> Spec:
    """A logarithmic axis with a line and a label at round numbers, as many as there is room for."""
    known = [v for v in values if v > 0]
    low, high = min(known) * 0.85, max(known) * 1.2
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks: list[float] = []
    for steps in STEPS:
        each = (float(f"{step}e{decade}") for decade in decades for step in steps)
        ticks = [tick for tick in each if low <= tick <= high]
        if len(ticks) <= MOST_TICKS:
            break
    return {
        "field": field,
        "type": "quantitative",
        "title": title,
        "scale": {"type": "log", "domain": [low, high], "nice": False},
        "axis": {"values": ticks, "format": ",~g"},
    }


def _points(
    rows: Sequence[Row],
    engines: Sequence[str],
    x: Spec,
    y: Spec,
    *,
    line_order: str = "size",
) -> list[Spec]:
    """Interval, line, point and mark, back to front."""
    line = {
        "transform": [{"filter": f"datum.mark !== '{INVALID}'"}],
        "mark": {"type": "line", "strokeWidth": 1.6, "opacity": 0.8},
        "encoding": {
            "x": x,
            "y": y,
            "color": _color(engines),
            "detail": {"field": "line", "type": "nominal"},
            "order": {"field": line_order},
        },
    }
    bounded = any("low" in row for row in rows)
    return [
        *([_interval(engines, x, y)] if bounded else []),
        line,
        _point_layer(engines, x, y),
        *_mark_layer(rows, x, y),
    ]


def _interval(engines: Sequence[str], x: Spec, y: Spec) -> Spec:
    return {
        "transform": [{"filter": "isValid(datum.low)"}],
        "mark": {"type": "rule", "strokeWidth": 1.2, "clip": True},
        "encoding": {
            "x": x,
            "y": {**y, "field": "low"},
            "y2": {"field": "high"},
            "color": _color(engines),
        },
    }


def _point_layer(engines: Sequence[str], x: Spec, y: Spec) -> Spec:
    """Filled where valid; hollow, on the page's own ground, where not."""
    return {
        "mark": {"type": "point", "size": 62, "strokeWidth": 1.6, "opacity": 1},
        "encoding": {
            "x": x,
            "y": y,
            "color": _color(engines),
            "shape": _shape(engines),
            "fillOpacity": {"condition": {"test": "datum.mark === ''", "value": 1}, "value": 0},
            "fill": _color(engines),
            "tooltip": _tooltip(),
        },
    }


def _mark_layer(rows: Sequence[Row], x: Spec, y: Spec, also: str = "true") -> list[Spec]:
    """The marks themselves, where there is anything to mark."""
    layer = {
        "transform": [{"filter": f"datum.mark !== '' && {also}"}],
        "mark": {"type": "text", "dx": 9, "dy": -8, "style": "mark"},
        "encoding": {"x": x, "y": y, "text": {"field": "mark", "type": "nominal"}},
    }
    return [layer] if any(row["mark"] for row in rows) else []


def _color(engines: Sequence[str]) -> Spec:
    return {
        "field": "engine",
        "type": "nominal",
        "scale": {"domain": list(engines)},
        "legend": _legend(),
    }


def _shape(engines: Sequence[str]) -> Spec:
    shapes = [SHAPES[i % len(SHAPES)] for i in range(len(engines))]
    return {
        "field": "engine",
        "type": "nominal",
        "scale": {"domain": list(engines), "range": shapes},
        "legend": _legend(),
    }


def _legend() -> Spec:
    return {"title": None, "orient": "top", "direction": "horizontal", "labelExpr": NAME_LINES}


def _facet(name: str, order: Sequence[str]) -> Spec:
    return {"field": name, "type": "nominal", "sort": list(order), "title": None}


def _names_axis() -> Spec:
    return {
        "labelLimit": 260,
        "labelExpr": NAME_LINES,
        "ticks": False,
        "domain": False,
        "labelPadding": 8,
    }


def _tooltip() -> list[Spec]:
    """Ready-made words: a figure in a tooltip has its mark like any other."""
    return [{"field": "words", "type": "nominal"}]
