"""Two or more engines with the same work: ranked, with ratios, and what made the comparison unequal."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.domain.cell import Load
from orchestrator.domain.reasons import Level
from orchestrator.domain.result import Result
from orchestrator.report import layout, units
from orchestrator.report.figures import FAIRNESS, RATE_BOUNDS, TOKEN_RATE, TTFT_MEAN, level, marked, worse
from orchestrator.report.groups import Field, Standing, load_name, load_size, standings
from orchestrator.report.headline import Names

ENDED = "why answers ended"
CAUTION = (
    "Each row is one run. Its 95 % interval tells how much the figure moved within that run, not what another run "
    "would give: two engines whose intervals overlap are not told apart, and those that do not may still be. "
    "Rank is by token rate; in an open loop by what was within limits, then by mean TTFT. Ratios are to the best at the same load; a ratio carries the worse mark of its two figures."
)


def ranking(fields: Sequence[Field], names: Names) -> list[str]:
    """The comparison, if there is more than one engine; else nothing."""
    contested = [f for f in fields if len({r.cell.group for r in f.results}) > 1]
    if not contested:
        return []
    return ["## Side by side", CAUTION, *(part for f in contested for part in _ranked(f, names))]


def fairness(results: Sequence[Result], names: Names) -> list[str]:
    """How long the answers were and why they ended: engines that answer shorter look faster."""
    measured = [r for r in results if r.metrics is not None]
    if not measured:
        return []
    headings = ["engine", "load", *(c.title for c in FAIRNESS), ENDED]
    rows = [
        [names[r.cell.group], _where(r), *(c.figure(r) for c in FAIRNESS), stop_reasons(r)] for r in measured
    ]
    return [f"## {spread(measured)}", layout.table(headings, rows, texts=2)]


def _ranked(field: Field, names: Names) -> list[str]:
    headings = [
        field.measure,
        "rank",
        "engine",
        "tok/s",
        RATE_BOUNDS.title,
        "to the best",
        "TTFT mean (ms)",
        "to the lowest",
    ]
    rows = [_row(load, standing, names) for load, results in field.by_load for standing in _contest(results)]
    table = [layout.table(headings, rows, texts=3)] if rows else []
    absent = unranked(field, names)
    absent += hosts_apart([s.result for _, results in field.by_load for s in _contest(results)])
    return [f"### {field.title}", *table, *([layout.bullets(absent)] if absent else [])]


def hosts_apart(results: Sequence[Result]) -> list[str]:
    """A line where what is ranked was measured on several hosts: two of the same make differ too."""
    hosts = {r.placed.host: _make(r) for r in results if r.placed is not None}
    if len(set(hosts.values())) > 1:
        told = "; ".join(f"{host}: {make}" for host, make in sorted(hosts.items()))
        return [f"measured on unlike hosts, so that a difference may be theirs ({told})"]
    told = ", ".join(sorted(hosts))
    if told in {"", *hosts}:
        return []
    return [f"measured on several hosts of the same make ({told}): --pin MODEL=HOST keeps a model on one"]


def _make(result: Result) -> str:
    """What tells one kind of host from another, of what a result knows."""
    if result.provenance is None:
        return "unknown"
    host = result.provenance.host
    gpus = ", ".join(f"{g.name}, driver {g.driver}" for g in host.gpus) or "no GPU"
    return f"{host.cpu}, {host.cpus} CPUs, {gpus}"


def _contest(results: Sequence[Result]) -> tuple[Standing, ...]:
    """The ranking, if there is more than one to rank."""
    ranked = standings(results)
    return ranked if len(ranked) > 1 else ()


def _row(load: Load, s: Standing, names: Names) -> list[str]:
    return [
        load_size(load),
        str(s.rank),
        names[s.result.cell.group],
        TOKEN_RATE.figure(s.result),
        RATE_BOUNDS.figure(s.result),
        marked(units.ratio(s.rate_ratio), s.rate_level),
        TTFT_MEAN.figure(s.result),
        marked(units.ratio(s.ttft_ratio), s.ttft_level),
    ]


def unranked(field: Field, names: Names) -> list[str]:
    """Who is missing from a field's ranking, and why; each load has one of its own."""
    return [line for _, results in field.by_load for line in _unranked(results, names)]


def _unranked(results: Sequence[Result], names: Names) -> list[str]:
    if len({r.method for r in results}) > 1:
        return [f"{load_name(results[0].cell)}: not ranked, measured by different METHODs"]
    ranked = [s.result for s in _contest(results)]
    return [
        f"{names[r.cell.group]}, {load_name(r.cell)}: not ranked, {_why(r)}"
        for r in results
        if r not in ranked
    ]


def _why(result: Result) -> str:
    if result.failure is not None:
        return f"it failed ({result.failure.cause.value})"
    if level(result) is Level.INVALID:
        return "its figures are invalid"
    return "there is no other to compare it with"


def spread(results: Sequence[Result]) -> str:
    """The heading says whether the engines did equal work, as far as answers' lengths tell."""
    found = _spread(results)
    if found is None:
        return "How long the answers were, and why they ended"
    return unequal(results) or "Mean answer lengths of the engines are the same"


def unequal(results: Sequence[Result]) -> str:
    """By how much the engines' answers differ in length under one load at most; nothing where they do not."""
    share, of = _spread(results) or (0.0, Level.VALID)
    return (
        f"Mean answer lengths of the engines differ by up to {marked(units.percent(share), of)}"
        if share
        else ""
    )


def _spread(results: Sequence[Result]) -> tuple[float, Level] | None:
    loads: dict[tuple[str, str, str], list[tuple[float, Level]]] = {}
    for r in results:
        if r.metrics and r.metrics.output_tokens.mean and level(r) is not Level.INVALID:
            work = (r.cell.group.compared_as, r.cell.group.workload.id, r.cell.load.id)
            loads.setdefault(work, []).append((r.metrics.output_tokens.mean, level(r)))
    return max((_difference(min(of), max(of)) for of in loads.values() if len(of) > 1), default=None)


def _difference(least: tuple[float, Level], most: tuple[float, Level]) -> tuple[float, Level]:
    return most[0] / least[0] - 1, worse(least[1], most[1])


def _where(result: Result) -> str:
    return f"{result.cell.group.model}, {load_name(result.cell)}"


def stop_reasons(result: Result) -> str:
    """Why the completed answers ended, as the engine said."""
    reasons = result.metrics.finish_reasons if result.metrics else {}
    return marked(
        ", ".join(f"{count:,} {name}" for name, count in reasons.items()) or units.NOTHING, level(result)
    )
