"""report.md: the answer first, then what it rests on. Pure: records in, text out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from orchestrator.domain.workload import Workload
from orchestrator.report import (
    certainty,
    comparison,
    control,
    events,
    groups,
    headline,
    history,
    ledger,
    literal,
    proof,
    timeline,
    units,
)
from orchestrator.report.figures import level
from orchestrator.report.records import RunRecord, State, Stored


def report(cells: Sequence[Stored], run: RunRecord) -> str:
    """The whole report of a run."""
    fields = groups.fields(cells)
    names = groups.names(cells)
    results = tuple(r for field in fields for r in field.results)
    parts = [
        f"# levelbench run {run.id}",
        summary(cells, run),
        *headline.sections(fields, names),
        headline.LEGEND,
        *control.sections(cells),
        *history.changes(run.changes, run.reruns),
        *events.missing(run),
        *events.refused(run),
        *comparison.ranking(fields, names),
        *certainty.sections(results, names),
        *literal.sections(results, names),
        *timeline.sections(results, names),
        *events.errors(results, names),
        *certainty.unchecked(results, names),
        *comparison.fairness(results, names),
        *events.cold_start(results, names),
        *events.failures(results, names),
        *ledger.sections(run.ledger),
        *proof.deviations(results, names),
        *proof.provenance(results, names),
        *proof.method(results, _workloads(cells)),
    ]
    return "\n\n".join(parts) + "\n"


def summary(cells: Sequence[Stored], run: RunRecord) -> str:
    """When it was begun, and how many cells ended how."""
    counts = Counter(_state(stored) for stored in cells)
    tally = ", ".join(f"{n} {state}" for state, n in counts.items())
    return f"Begun {run.created_at}. {units.count(len(cells), 'cell')}: {tally or 'none planned'}."


def _state(stored: Stored) -> str:
    if stored.state is not State.COMPLETE or stored.result is None:
        return stored.state.value
    failure = stored.result.failure
    if failure is None:
        return level(stored.result).value
    return "failed" if failure.waived is None else "waived"


def _workloads(cells: Sequence[Stored]) -> tuple[Workload, ...]:
    return tuple(dict.fromkeys(stored.cell.group.workload for stored in cells if stored.cell))
