"""The first screen of a report: which figures, and which engine leads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from orchestrator.domain.cell import CellGroup, Load
from orchestrator.domain.distribution import MIN_SAMPLES
from orchestrator.domain.result import Result
from orchestrator.report import layout
from orchestrator.report.figures import TOKEN_RATE, TTFT_MEAN, headline, level, marked, worse
from orchestrator.report.groups import Field, counted, is_open, load_name, load_size, standings
from orchestrator.report.records import State, Stored

Names = Mapping[CellGroup, str]

MOST_TOKENS = "most tok/s from"
LEGEND = (
    "TTFT: time to first token. ITL: gap between two tokens of one answer. tok/s: generated tokens per second, all "
    "users together. `?` marks a suspect figure, `!` an invalid one; the reasons stand below the table. "
    f"`n<{MIN_SAMPLES[95]}`: too few samples for that percentile."
)


def sections(fields: Sequence[Field], names: Names) -> list[str]:
    """One heading with the answer, one table and its remarks per field."""
    return [part for field in fields for part in _section(field, names)]


def rows(field: Field, names: Names) -> list[list[str]]:
    """How much at a time, engine, verdict, then the figures; a row for every cell that was begun."""
    columns = headline(field.results)
    return [
        [
            load_size(cell.load),
            names[cell.group],
            verdict(stored),
            *(c.figure(stored.result) for c in columns),
        ]
        for stored in field.cells
        if (cell := stored.cell) is not None
    ]


def headings(field: Field) -> list[str]:
    return [field.measure, "engine", "verdict", *(column.title for column in headline(field.results))]


def answer(field: Field, names: Names) -> str:
    """The heading: who leads at which load, or how fast the only engine is."""
    if len({result.cell.group for result in field.results}) > 1:
        return _leaders(field, names)
    rates = [
        f"{TOKEN_RATE.figure(r)} tok/s with {counted([load])}"
        for load, results in field.by_load
        for r in results
        if r.metrics is not None
    ]
    return f"{field.title}: {layout.joined(rates) if rates else 'no figures'}"


def verdict(stored: Stored) -> str:
    """One word for the table, and the cause of a failure."""
    if stored.state is not State.COMPLETE or stored.result is None:
        return stored.state.value
    if stored.result.failure is not None:
        word = "failed" if stored.result.failure.waived is None else "waived"
        return f"{word}: {stored.result.failure.cause.value}"
    return level(stored.result).value


def one_line(result: Result) -> str:
    """A cell as it ends: rate, TTFT, verdict and what speaks against it."""
    if result.metrics is None:
        return "no figures"
    reasons = [f.text for f in result.verdict.findings] if result.verdict else []
    figures = f"{TOKEN_RATE.figure(result)} tok/s, TTFT {TTFT_MEAN.figure(result)} ms, {level(result).value}"
    return "; ".join((figures, *reasons))


def remarks(field: Field, names: Names) -> list[str]:
    """Every reason why a figure of the table may not be believed, and what else must be known of it; what holds for
    several loads of an engine is said once."""
    said: dict[tuple[str, str], list[str]] = {}
    for r in field.results:
        for text in _remarks(r):
            said.setdefault((names[r.cell.group], text), []).append(load_name(r.cell))
    return [f"{name}, {layout.joined(loads)}: {text}" for (name, text), loads in said.items()]


def _remarks(result: Result) -> list[str]:
    findings = result.verdict.findings if result.verdict else ()
    told = (*result.notes, *(result.gate.remarks if result.gate else ()))
    return [*(f"{finding.level.value}, {finding.text}" for finding in findings), *told]


def _section(field: Field, names: Names) -> list[str]:
    parts = [f"## {answer(field, names)}", layout.table(headings(field), rows(field, names), texts=3)]
    found = remarks(field, names)
    return [*parts, layout.bullets(found)] if found else parts


def _leaders(field: Field, names: Names) -> str:
    """Only where at least two engines have figures that may be compared."""
    led: dict[str, list[Load]] = {}
    by = _by(field)
    for load, results in field.by_load:
        ranked = standings(results)
        if len(ranked) > 1:
            best = ranked[0]
            of = best.rate_level if by == MOST_TOKENS else worse(best.rate_level, best.ttft_level)
            winner = marked(names[best.result.cell.group], of)
            led.setdefault(winner, []).append(load)
    if not led:
        return f"{field.title}: no two engines to compare"
    claims = [f"{winner} with {counted(at)}" for winner, at in led.items()]
    return f"{field.title}: {by} {layout.joined(claims)}"


def _by(field: Field) -> str:
    """What a place is by, as in groups.standings."""
    if not is_open(field.results):
        return MOST_TOKENS
    limited = any(r.metrics is not None and r.metrics.slo is not None for r in field.results)
    return "most within limits from" if limited else "lowest TTFT from"
