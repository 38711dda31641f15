"""A run's records -> the whole page as a value. Pure: no browser, no clock, no file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from orchestrator.domain.cell import CellGroup
from orchestrator.domain.ledger import Ledger
from orchestrator.domain.provenance import Provenance
from orchestrator.domain.result import Failure, Result
from orchestrator.domain.workload import Workload
from orchestrator.report import (
    certainty,
    control,
    events,
    groups,
    history,
    layout,
    ledger,
    literal,
    markdown,
    proof,
    units,
)
from orchestrator.report.cost import Price, weights
from orchestrator.report.groups import Field, load_name
from orchestrator.report.headline import Names
from orchestrator.report.html import answer, settings
from orchestrator.report.html.charts import Chart
from orchestrator.report.html.deck import deck
from orchestrator.report.html.values import EMPTY, Engine, FailedCell, Page, Table, Time, Work
from orchestrator.report.html.work import Sources, work
from orchestrator.report.records import RunRecord, State
from orchestrator.report.trace import Trace


def page(
    run: RunRecord, traces: Mapping[str, Trace], price: Price | None = None, *, compared: Table = EMPTY
) -> Page:
    """`traces` are by cell id; a cell without one has no time line of the machine and no distributions. `compared`
    tells of the run's engines what no run does (report/qualitative.py)."""
    fields = groups.fields(run.cells)
    names = groups.names(run.cells)
    results = tuple(r for field in fields for r in field.results)
    sources = Sources(
        names=names,
        engines=tuple(dict.fromkeys(names.values())),
        traces=traces,
        weights_bytes=weights(run.plan),
        price=price,
        refused=settings.refused(run.plan),
    )
    works = tuple(work(field, f"w{i}", sources) for i, field in enumerate(fields, 1))
    known = proof.by_group(results)
    return Page(
        run_id=run.id,
        created_at=run.created_at,
        tally=markdown.summary(run.cells, run).partition(". ")[2],
        machine=_machine(results),
        rankings=tuple(answer.ranking(f, names, w.anchor) for f, w in zip(fields, works, strict=True)),
        care=answer.care(run, fields, names),
        works=works,
        failed=tuple(_failed(results, names)),
        missing=tuple(
            f"{s.cell_id}: {s.state.value}, {s.reason}" for s in run.cells if s.state is not State.COMPLETE
        ),
        errors=Table(["engine", "load", "kind", "requests"], events.error_rows(results, names), texts=3),
        literal=_literal(results, names),
        unchecked=tuple(certainty.unchecked_lines(results, names)),
        changed=history.changed(run.changes),
        changes=tuple((one.found, history.conclusion(one.conclusion)) for one in run.changes),
        again=Table(history.AGAIN, history.again(run.changes, run.reruns), texts=3),
        control=Table(control.HEADINGS, control.rows(run.cells), texts=control.TEXTS),
        time=_time(run.ledger),
        deviations=Table(proof.DEVIATIONS, proof.deviation_rows(results, names), texts=5),
        hosts=tuple(dict.fromkeys(p.host for p in known.values())),
        clients=tuple(dict.fromkeys(proof.client(p.client_selftest) for p in known.values())),
        engines=tuple(_engine(g, p, results, names) for g, p in known.items()),
        compared=compared,
        methods=layout.joined([str(m) for m in sorted({r.method for r in results})]),
        rules=tuple(proof.rules(_workloads(fields))),
        deck=deck(charts_of(works)),
    )


def charts_of(works: Iterable[Work]) -> Iterable[Chart]:
    """Every chart, in the order of the page."""
    for w in works:
        yield from (*w.charts, *w.curves, *(t.chart for t in w.timelines), *([w.phases] if w.phases else []))


def _machine(results: Sequence[Result]) -> str:
    """What it ran on, in one line; several where it was several."""
    hosts = dict.fromkeys(r.provenance.host for r in results if r.provenance is not None)
    lines = [
        ", ".join([*(g.name for g in h.gpus), f"{h.cpu} ({units.count(h.cpus, 'core')})", h.os])
        for h in hosts
    ]
    return "; ".join(dict.fromkeys(lines))


def _engine(group: CellGroup, p: Provenance, results: Sequence[Result], names: Names) -> Engine:
    mine = [r for r in results if r.cell.group == group]
    return Engine(
        title=f"{names[group]}, {group.model}",
        provenance=p,
        cpus=proof.cpus(p.cpus) if p.cpus else "",
        room=proof.cleared(mine).get(group, ""),
        placed=tuple(
            dict.fromkeys(
                f"{r.placed.host}, attempt {r.placed.attempt}" for r in mine if r.placed is not None
            )
        ),
    )


def _failed(results: Sequence[Result], names: Names) -> Iterable[FailedCell]:
    for r in results:
        if r.failure is not None:
            yield FailedCell(
                title=f"{names[r.cell.group]}, {r.cell.group.model}, {load_name(r.cell)}",
                cause=r.failure.cause.value,
                phase=r.failure.phase.value,
                message=r.failure.message,
                hint=r.failure.hint,
                log_tail=r.failure.log_tail,
                fate=_fate(r.failure),
            )


def _fate(failure: Failure) -> str:
    if failure.waived is not None:
        return f"waived until {failure.waived.until}: {failure.waived.reason}"
    return "not tried, since its like had failed so before" if failure.skipped else ""


def _time(of: Ledger | None) -> Time:
    if of is None or not of.wall_s:
        return Time()
    return Time(ledger.answer(of), tuple(ledger.remarks(of)), Table(ledger.HEADINGS, ledger.rows(of)))


def _literal(results: Sequence[Result], names: Names) -> tuple[Table, ...]:
    found = literal.rows(results, names)
    return (
        ()
        if found is None
        else (Table(literal.RATE, found[0], texts=2), Table(literal.TTFT, found[1], texts=2))
    )


def _workloads(fields: Sequence[Field]) -> tuple[Workload, ...]:
    return tuple(dict.fromkeys(s.cell.group.workload for f in fields for s in f.cells if s.cell))
