"""One cell over time: a panel per series, all on one axis, window by window. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.domain.metrics import Metrics
from orchestrator.domain.windows import WindowMetrics
from orchestrator.report import units
from orchestrator.report.html.charts import SCHEMA, Row, Spec
from orchestrator.report.trace import (
    CLIENT_LAG,
    CPU_CORES,
    GPU_CLOCK,
    GPU_POWER,
    GPU_UTILISATION,
    KV_USE,
    RUNNING,
    WAITING,
    Trace,
)

THROTTLED = "throttled"


@dataclass(frozen=True, slots=True)
class Panel:
    """A strip of the time line. `of` takes a window and the machine's readings in it, each by name."""

    field: str
    title: str
    of: Callable[[WindowMetrics, dict[str, float | None]], float | None]
    top: float | None = None


def _reading(
    name: str, factor: float = 1.0
) -> Callable[[WindowMetrics, dict[str, float | None]], float | None]:
    def of(_: WindowMetrics, readings: dict[str, float | None]) -> float | None:
        value = readings.get(name)
        return None if value is None else value * factor

    return of


PANELS = (
    Panel("rate", "tok/s", lambda w, _: w.tokens_per_s),
    Panel("ttft", "TTFT mean (ms)", lambda w, _: None if w.ttft_mean_s is None else w.ttft_mean_s * 1e3),
    Panel("users", "requests in flight", lambda w, _: w.active_users),
    Panel("gpu", "GPU busy (%)", _reading(GPU_UTILISATION), top=100),
    Panel("power", "GPU power (W)", _reading(GPU_POWER)),
    Panel("clock", "SM clock (MHz)", _reading(GPU_CLOCK)),
    Panel("running", "engine: running", _reading(RUNNING)),
    Panel("waiting", "engine: waiting", _reading(WAITING)),
    Panel("kv", "KV cache used (%)", _reading(KV_USE, 100), top=100),
    Panel("cpu", "engine CPU (cores)", _reading(CPU_CORES)),
    Panel("lag", "client lag max (ms)", _reading(CLIENT_LAG, 1e3)),
)


def rows(metrics: Metrics, trace: Trace, mark: str) -> list[Row]:
    """One row per window, with a field per panel; a reading that nobody took is absent, never 0."""
    return [_row(i, w, metrics, trace, mark) for i, w in enumerate(metrics.windows)]


def panels(of: list[Row]) -> tuple[Panel, ...]:
    """Those that anything is known for."""
    return tuple(panel for panel in PANELS if any(panel.field in row for row in of))


def absent(of: list[Row]) -> tuple[str, ...]:
    """The titles of the others."""
    shown = panels(of)
    return tuple(panel.title for panel in PANELS if panel not in shown)


def spec(of: list[Row], mark: str) -> Spec:
    """Panels below each other; only the last one has the axis' labels. Ramp and drain are shaded."""
    shown = panels(of)
    throttled = any(THROTTLED in row for row in of)
    last = shown[-1]
    return {
        "$schema": SCHEMA,
        "data": {"name": "rows"},
        "vconcat": [_panel(p, _top(p, of), mark, labelled=p is last, throttled=throttled) for p in shown],
        "spacing": 8,
        "resolve": {"scale": {"x": "shared", "color": "shared"}},
    }


def _row(i: int, w: WindowMetrics, metrics: Metrics, trace: Trace, mark: str) -> Row:
    readings = {name: line[i] for name, line in trace.series.items()}
    values = {panel.field: panel.of(w, readings) for panel in PANELS}
    known = {name: float(f"{value:.5g}") for name, value in values.items() if value is not None}
    held = trace.throttled[i] if i < len(trace.throttled) else ()
    slowed = {THROTTLED: ", ".join(reason.replace("_", " ") for reason in held)} if held else {}
    return {
        "from": round(w.start_s, 3),
        "to": round(w.start_s + w.length_s, 3),
        "part": _part(w, metrics),
        **known,
        **slowed,
        "words": _words(w, known, mark, slowed.get(THROTTLED, "")),
    }


def _part(w: WindowMetrics, m: Metrics) -> str:
    """Where its middle lies."""
    middle_s = w.start_s + w.length_s / 2
    if middle_s < m.steady_start_s:
        return "ramp"
    return "steady" if middle_s < m.steady_start_s + m.steady_length_s else "drain"


def _words(w: WindowMetrics, known: dict[str, float], mark: str, throttled: str) -> str:
    lines = [
        f"{panel.title}: {units.number(known[panel.field])}{mark}" for panel in PANELS if panel.field in known
    ]
    slowed = [f"clocks held down: {throttled}"] if throttled else []
    return "\n".join([f"{w.start_s:g} to {w.start_s + w.length_s:g} s", *lines, *slowed])


def _panel(panel: Panel, top: float | None, mark: str, *, labelled: bool, throttled: bool) -> Spec:
    x = {
        "field": "from",
        "type": "quantitative",
        "title": "seconds from the start of the ramp" if labelled else None,
        "axis": {"labels": labelled, "ticks": labelled, "grid": False, "tickCount": 12},
        "scale": {"nice": False, "zero": True},
    }
    until = {"field": "to"}
    y = {
        "field": panel.field,
        "type": "quantitative",
        "title": None,
        "axis": {"tickCount": 2, "minExtent": 46, "maxExtent": 46},
        "scale": {"zero": True, "nice": True, **({"domain": [0, top]} if top else {})},
    }
    shade = {
        "transform": [{"filter": "datum.part != 'steady'"}],
        "mark": {"type": "rect", "style": "shade", "aria": False},
        "encoding": {"x": x, "x2": until},
    }
    steps = {
        "mark": {"type": "rect", "style": "window"},
        "encoding": {
            "x": x,
            "x2": until,
            "y": y,
            "y2": {"datum": 0},
            "tooltip": [{"field": "words", "type": "nominal"}],
        },
    }
    return {
        "title": {"text": f"{panel.title} {mark}".rstrip(), "anchor": "start", "offset": 2, "style": "panel"},
        "height": 44,
        "layer": [
            shade,
            steps,
            *([_throttle_layer(x)] if throttled and panel.field == "clock" else []),
        ],
    }


def _top(panel: Panel, of: list[Row]) -> float | None:
    """Where the axis must end: by its nature, or because there is nothing but zeros."""
    return panel.top or (None if any(row.get(panel.field) for row in of) else 1.0)


def _throttle_layer(x: Spec) -> Spec:
    """A bar along the upper edge, with an arrow downwards: clocks were held down then."""
    return {
        "transform": [
            {"filter": f"isValid(datum.{THROTTLED})"},
            {"calculate": "(datum.from + datum.to) / 2", "as": "middle"},
        ],
        "mark": {"type": "text", "text": "▼", "y": 5, "style": "throttle"},
        "encoding": {
            "x": {**x, "field": "middle"},
            "tooltip": [{"field": THROTTLED, "type": "nominal", "title": "clocks held down"}],
        },
    }
