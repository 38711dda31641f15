"""How a cell went, window by window: a sparkline and the figures behind it."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.domain.metrics import Metrics
from orchestrator.domain.reasons import Level
from orchestrator.domain.result import Result
from orchestrator.domain.windows import ACTIVE_SHARE, SteadyRule, WindowMetrics
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
        f"`|{sparkline(rates)}|` from 0 to {top} tok/s; {_parts(m)}",
        _stationarity(result, m),
        folded,
    ]


def _table(m: Metrics, of: Level) -> str:
    return layout.table(HEADINGS, [_row(w, m, of) for w in m.windows], texts=2)


def _row(w: WindowMetrics, m: Metrics, of: Level) -> list[str]:
    figures = (
        units.number(w.tokens_per_s),
        units.ms(w.ttft_mean_s),
        f"{w.requests_ended:,}",
        f"{w.errors:,}",
        units.number(w.active_users),
    )
    return [f"{w.start_s:g}", _part(w, m), *(marked(text, of) for text in figures)]


def _part(w: WindowMetrics, m: Metrics) -> str:
    begin_s, end_s = m.steady_start_s, m.steady_start_s + m.steady_length_s
    touched = {
        "ramp": w.start_s < begin_s,
        "steady": w.start_s < end_s and w.start_s + w.length_s > begin_s,
        "drain": w.start_s + w.length_s > end_s and m.drain_length_s > 0,
    }
    return ", ".join(part for part, is_so in touched.items() if is_so)


def _parts(m: Metrics) -> str:
    """How long ramp and drain were, and what made the steady window what it is."""
    drain = f", drain: the last {units.seconds(m.drain_length_s)}" if m.drain_length_s else ""
    return f"ramp: the first {units.seconds(m.steady_start_s)}{drain}; steady: {_RULES[m.steady_rule]}"


def _stationarity(result: Result, m: Metrics) -> str:
    """The sentence about the steady window; what it says of a drift is a reason, so it is marked as one."""
    mark = f"{level(result).value}: " if m.stationarity.drifts else ""
    return f"Over time: {mark}{m.stationarity.text}."


_RULES = {
    SteadyRule.USERS_ACTIVE: f"at least {ACTIVE_SHARE:.0%} of the users took part",
    SteadyRule.AFTER_RAMP: f"all that follows the ramp, since {ACTIVE_SHARE:.0%} of the users never took part for long",
    SteadyRule.OPEN_LOOP: "all that follows the ramp (open loop)",
}
