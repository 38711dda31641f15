"""What went wrong and what it took to get going: errors, failures, missing cells, cold start."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.domain.cell import CellGroup
from orchestrator.domain.result import Failure, Phase, Result
from orchestrator.report import layout, units
from orchestrator.report.figures import level, marked
from orchestrator.report.groups import load_name
from orchestrator.report.headline import Names
from orchestrator.report.records import RunRecord, State

STARTING = tuple(phase for phase in Phase if phase not in (Phase.MEASURE, Phase.DOWN))


MADE = ("engine", "model", "step", "this time", "took when made", "memory max", "disk")


def missing(run: RunRecord) -> list[str]:
    """Cells that are no result, and journal lines that a crash tore."""
    absent = [s for s in run.cells if s.state is not State.COMPLETE]
    lines = [f"`{s.cell_id}`: {s.state.value}, {s.reason}" for s in absent]
    lines += torn(run)
    if not lines:
        return []
    heading = "## Not every cell was measured" if absent else "## The journal is torn"
    return [heading, layout.bullets(lines)]


def torn(run: RunRecord) -> list[str]:
    """Journal lines that a crash left incomplete."""
    return [f"line {number} of the journal was torn by a crash" for number in run.torn_lines]


def refusals(run: RunRecord) -> list[str]:
    """What the plan left out because an engine cannot serve it, and why."""
    refused = run.plan.get("refused") or () if "groups" in run.plan else ()  # of a load it is about fields
    return [
        f"{r['backend']} ({r['release']}) cannot serve {r['model']}: {layout.escape(r['refusal']['reason'])}"
        for r in refused
    ]


def refused(run: RunRecord) -> list[str]:
    """The same as a section; a gap in the matrix is never silent."""
    lines = refusals(run)
    return ["## What an engine cannot serve", layout.bullets(lines)] if lines else []


def failures(results: Sequence[Result], names: Names) -> list[str]:
    """One subsection per failed cell: cause, what to do, the engine's last words."""
    every = [(r, r.failure) for r in results if r.failure is not None]
    failed = [(r, failure) for r, failure in every if failure.waived is None]
    waived = [(r, failure) for r, failure in every if failure.waived is not None]
    return [
        *([f"## {units.count(len(failed), 'cell')} failed"] if failed else []),
        *(part for r, failure in failed for part in _failure(r, failure, names)),
        *([f"## {units.count(len(waived), 'failure')} waived"] if waived else []),
        *(part for r, failure in waived for part in _failure(r, failure, names)),
    ]


def errors(results: Sequence[Result], names: Names) -> list[str]:
    """Failed requests by kind."""
    rows = error_rows(results, names)
    if not rows:
        return ["## No request failed in a measured window"] if any(r.metrics for r in results) else []
    return ["## Some requests failed", layout.table(["engine", "load", "kind", "requests"], rows, texts=3)]


def error_rows(results: Sequence[Result], names: Names) -> list[list[str]]:
    """Engine, load, kind and number of the requests that failed in a measured window."""
    return [
        [names[r.cell.group], f"{r.cell.group.model}, {load_name(r.cell)}", kind, marked(f"{n:,}", level(r))]
        for r in results
        if r.metrics is not None
        for kind, n in r.metrics.errors.items()
    ]


def cold_start(results: Sequence[Result], names: Names) -> list[str]:
    """Seconds per phase of each deployment, how long until it served, and what was made for it."""
    phases = phases_s(results)
    if not phases:
        return []
    ready = [f"{names[group]} ({group.model}) {_until_ready(of)}" for group, of in phases.items()]
    rows = [
        [names[group], group.model, *(units.seconds(of.get(phase)) for phase in STARTING)]
        for group, of in phases.items()
    ]
    table = layout.table(["engine", "model", *(phase.value for phase in STARTING)], rows, texts=2)
    steps = made(results, names)
    return [
        f"## From start to ready: {layout.joined(ready)}",
        table,
        *([layout.table(MADE, steps, texts=4)] if steps else []),
    ]


def made(results: Sequence[Result], names: Names) -> list[list[str]]:
    """A row for the weights and for each step: what it took when it was made, which may have been in an earlier
    run."""
    of = {result.cell.group: result.steps for result in results if result.steps}
    return [
        [
            names[group],
            group.model,
            step.id,
            "from the cache" if step.cached else "made now",
            units.seconds(step.wall_s),
            units.size(step.peak_memory_bytes),
            units.size(step.output_bytes),
        ]
        for group, steps in of.items()
        for step in steps
    ]


def _failure(result: Result, failure: Failure, names: Names) -> list[str]:
    title = f"### {names[result.cell.group]}, {result.cell.group.model}, {load_name(result.cell)}"
    cause = f"**{failure.cause.value}** in phase {failure.phase.value}: {layout.escape(failure.message)}"
    if failure.waived is not None:
        cause += f". Waived until {failure.waived.until}: {layout.escape(failure.waived.reason)}"
    hint = [f"What to do: {layout.escape(failure.hint)}"] if failure.hint else []
    tail = ["The engine's last words:", layout.code_block(failure.log_tail)] if failure.log_tail else []
    return [title, cause, *hint, *tail]


def phases_s(results: Sequence[Result]) -> dict[CellGroup, dict[Phase, float]]:
    """Of each deployment, every phase as the first of its cells that knows it."""
    known: dict[CellGroup, dict[Phase, float]] = {}
    for result in results:
        if result.phases_s:
            known[result.cell.group] = result.phases_s | known.get(result.cell.group, {})
    return known


def _until_ready(phases_s: dict[Phase, float]) -> str:
    known = [phases_s[phase] for phase in (Phase.UP, Phase.READY) if phase in phases_s]
    return units.seconds(sum(known)) if known else "never ready"
