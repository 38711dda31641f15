"""How a cell went, window by window: a sparkline and the figures behind it."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.domain.metrics import Metrics, WindowMetrics
from orchestrator.domain.result import Result
from orchestrator.domain.verdict import Level
from orchestrator.report import layout, units
from orchestrator.report.figures import level, marked
from orchestrator.report.groups import load_name
from orchestrator.report.headline import Names

BARS = "▁▂▃▄▅▆▇█"
HEADINGS = ("from (s)", "part", "tok/s", "TTFT mean (ms)", "completed", "errors", "in flight")


def sections(results: Sequence[Result], names: Names) -> list[str]:
    """All time lines; the tables are folded, since the line tells most of it."""
    cells = [part for r in results if r.metrics is not None for part in _cell(r, r.metrics, names)]
    return ["## How the token rate went over time", *cells] if cells else []


def sparkline(values: Sequence[float]) -> str:
    """One bar per value between nothing and the largest; only a true zero has no height."""
    top = max(values, default=0.0)
    if top <= 0:
        return " " * len(values)
    return "".join(" " if v <= 0 else BARS[min(7, int(v / top * 8))] for v in values)


def _cell(result: Result, m: Metrics, names: Names) -> list[str]:
    rates = [w.tokens_per_s for w in m.windows]
    top = marked(units.number(max(rates, default=0.0)), level(result))
    folded = (
        f"<details><summary>figures per window</summary>\n\n{_table(m, level(result))}\n\n</details>"
        if m.windows
        else "No window: measuring ended at once."
    )
    return [
        f"### {names[result.cell.group]}, {result.cell.group.model}, {load_name(result.cell)}",
        f"`|{sparkline(rates)}|` from 0 to {top} tok/s; ramp: the first {units.seconds(m.steady_start_s)}",
        folded,
    ]


def _table(m: Metrics, of: Level) -> str:
    return layout.table(HEADINGS, [_row(w, m.steady_start_s, of) for w in m.windows], texts=2)


def _row(w: WindowMetrics, steady_start_s: float, of: Level) -> list[str]:
    figures = (
        units.number(w.tokens_per_s),
        units.ms(w.ttft_mean_s),
        f"{w.requests_ended:,}",
        f"{w.errors:,}",
        units.number(w.active_users),
    )
    return [f"{w.start_s:g}", _part(w, steady_start_s), *(marked(text, of) for text in figures)]


def _part(w: WindowMetrics, steady_start_s: float) -> str:
    if w.start_s >= steady_start_s:
        return "steady"
    return "ramp" if w.start_s + w.length_s <= steady_start_s else "both"
