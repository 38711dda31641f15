"""Charts as files of their own: SVG or PNG in the light theme, for papers and slides."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterable, Iterator
from enum import Enum

import vl_convert

from orchestrator.report.html import render
from orchestrator.report.html.charts import Chart, Spec

WIDTH = 860
SCALE = 2.0
FONT = "sans-serif"


class Picture(str, Enum):
    """The forms."""

    SVG = "svg"
    PNG = "png"


def pictures(charts: Iterable[Chart], form: Picture) -> Iterator[tuple[str, bytes]]:
    """File name and content of each."""
    for chart in charts:
        spec = {
            **_fitted(chart.spec, chart.columns),
            "data": {"values": list(chart.rows)},
            "title": {"text": chart.title, "subtitle": chart.about, "anchor": "start"},
        }
        yield f"{chart.id}.{form.value}", _drawn(spec, form)


def _drawn(spec: Spec, form: Picture) -> bytes:
    config = _light({**render.theme(), "font": FONT, "background": "var(--ground)", "padding": 12})
    if form is Picture.SVG:
        return vl_convert.vegalite_to_svg(spec, vl_version=render.VEGA_LITE, config=config).encode()
    return vl_convert.vegalite_to_png(spec, vl_version=render.VEGA_LITE, config=config, scale=SCALE)


def _light(config: Spec) -> Spec:
    """Variables of the style sheet as the colours that they are on paper."""
    root = render.asset("style.css").partition("@media")[0]
    colours = dict(re.findall(r"--(\w+): (#\w+)", root))
    found: Spec = json.loads(re.sub(r"var\(--(\w+)\)", lambda m: colours[m[1]], json.dumps(config)))
    return found


def _fitted(spec: Spec, columns: int) -> Spec:
    """The same shares of the width as on the page (page.js)."""
    whole = copy.deepcopy(spec)
    for panel in whole.get("vconcat", []):
        panel["width"] = WIDTH
    if "facet" in whole:
        whole["spec"]["width"] = WIDTH // columns - 22
    elif "vconcat" not in whole:
        whole["width"] = WIDTH
    return whole
