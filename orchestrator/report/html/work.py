"""One model and kind of load as the page shows it: charts, tables, time lines, and why any is missing. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.domain.distribution import MIN_SAMPLES, PERCENTILES
from orchestrator.domain.reasons import Level
from orchestrator.domain.result import Result
from orchestrator.report import comparison, events, headline, units
from orchestrator.report.cost import Price
from orchestrator.report.figures import (
    CERTAINTY,
    FAIRNESS,
    GOODPUT,
    MARKS,
    TOKEN_RATE,
    TTFT_MEAN,
    gpu_busy_share,
    level,
    limits,
    worse,
)
from orchestrator.report.groups import Field, counted, load_size
from orchestrator.report.headline import Names
from orchestrator.report.html import charts, costs, settings, timelines
from orchestrator.report.html.charts import Chart, Row
from orchestrator.report.html.values import Table, Timeline, Work
from orchestrator.report.trace import EMPTY, Trace

CURVES = {
    "ttft_s": ("Time to first token", "TTFT (ms)"),
    "itl_s": ("Gap between two tokens of an answer", "ITL (ms)"),
    "latency_s": ("From sending to the answer's end", "latency (ms)"),
}
FEWEST_TO_CORRELATE = 3


@dataclass(frozen=True, slots=True)
class Sources:
    """What a work's page is made from besides its field. `engines` are all of the run, so that each keeps its
    colour; traces are by cell id."""

    names: Names
    engines: tuple[str, ...]
    traces: Mapping[str, Trace]
    weights_bytes: Mapping[str, int]
    price: Price | None
    refused: Mapping[str, tuple[str, ...]]


def work(field: Field, anchor: str, of: Sources) -> Work:
    """A whole section."""
    measured = [r for r in field.results if r.metrics is not None]
    drawn, silent = _charts(measured, field.measure, anchor, of)
    shown, silent_curves = _curves(measured, anchor, of)
    started = events.phases_s(field.results)
    cost = costs.table(measured, field.measure, of.names, of.weights_bytes, of.price)
    return Work(
        anchor=anchor,
        title=field.title,
        answer=headline.answer(field, of.names),
        charts=drawn,
        curves=shown,
        figures=Table(headline.headings(field), headline.rows(field, of.names), texts=3),
        remarks=tuple(headline.remarks(field, of.names)),
        certainty=_by_load(field, of.names, [(c.title, c.figure) for c in CERTAINTY]),
        unranked=tuple(comparison.unranked(field, of.names)) if len(_engines(field.results, of)) > 1 else (),
        timelines=tuple(_timeline(r, anchor, of) for r in measured),
        phases=_phases(field, anchor, of.names),
        start=Table(
            ["engine", "model", *(p.value for p in events.STARTING)],
            [
                [of.names[g], g.model, *(units.seconds(s.get(p)) for p in events.STARTING)]
                for g, s in started.items()
            ],
            texts=2,
        ),
        made=Table(events.MADE, events.made(field.results, of.names), texts=4),
        costs=cost.table,
        costs_unknown=cost.unknown,
        spread=comparison.spread(measured),
        fairness=_by_load(
            field,
            of.names,
            [*((c.title, c.figure) for c in FAIRNESS), (comparison.ENDED, comparison.stop_reasons)],
        ),
        sampling=settings.sampling(field),
        settings=settings.table(field.results, of.names, of.refused),
        silent=(*silent, *silent_curves, *cost.silent),
    )


def _by_load(field: Field, names: Names, columns: Sequence[tuple[str, Callable[[Result], str]]]) -> Table:
    """Engines of the same load below each other, so that a column compares them."""
    rows = [
        [load_size(load), names[r.cell.group], *(text(r) for _, text in columns)]
        for load, results in field.by_load
        for r in results
        if r.metrics is not None
    ]
    return Table([field.measure, "engine", *(title for title, _ in columns)], rows, texts=2)


def _engines(results: Sequence[Result], of: Sources) -> list[str]:
    return list(dict.fromkeys(of.names[r.cell.group] for r in results))


def _row(r: Result, of: Sources, words: str, **values: float | str) -> Row:
    """What every chart of cells needs: who, at which load, how far to be believed."""
    engine, mark = of.names[r.cell.group], MARKS[level(r)]
    head = f"{engine}, {counted([r.cell.load])}"
    verdict = f"\n{level(r).value}" if mark else ""
    return {
        "engine": engine,
        "load": load_size(r.cell.load),
        "size": r.cell.load.size,
        "line": r.cell.group.id,
        "mark": mark,
        "words": f"{head}\n{words}{verdict}",
        **values,
    }


def _charts(
    measured: Sequence[Result], measure: str, anchor: str, of: Sources
) -> tuple[tuple[Chart, ...], list[str]]:
    """Rate and TTFT against load, GPU against rate, energy: each drawn, or a word about why not."""
    if not measured:
        return (), ["No cell has figures: there is nothing to draw."]
    busy = _busy_rows(measured, of)
    energy = costs.energy_rows(measured, lambda r, words, **v: _row(r, of, words, **v))
    quantiles, untold = _ttft_rows(measured, of)
    engines, against = of.engines, _against(measured, measure)
    rates = _rate_rows(measured, of)
    drawn = [
        Chart(
            f"{anchor}-rate",
            f"Token rate against {against}",
            "Generated tokens per second, all requests together, with 95 % intervals within the run",
            charts.over_loads(rates, engines, x=measure, y="rate", title="tok/s"),
            rates,
        )
    ]
    if quantiles:
        present = [f"p{q}" for q in PERCENTILES if any(row["quantile"] == f"p{q}" for row in quantiles)]
        drawn.append(
            Chart(
                f"{anchor}-ttft",
                f"Time to first token against {against}",
                "Logarithmic; with 95 % intervals within the run",
                charts.over_loads_by(
                    quantiles, engines, x=measure, y="ms", title="TTFT (ms)", by="quantile", order=present
                ),
                quantiles,
                columns=len(present),
                note=untold,
            )
        )
    drawn += _goodput(measured, measure, anchor, of)
    if busy:
        drawn.append(
            Chart(
                f"{anchor}-gpu",
                "GPU utilisation against token rate",
                f"Mean share of the steady window in which a kernel ran; the numbers are {against}",
                charts.scatter(busy, engines, x="busy", x_title="GPU busy (%)", y="rate", title="tok/s"),
                busy,
                note=_correlation(measured),
            )
        )
    if energy:
        drawn.append(
            Chart(
                f"{anchor}-energy",
                f"Energy per token against {against}",
                "GPU power over the steady window divided by the token rate",
                charts.over_loads(energy, engines, x=measure, y="joules", title="J per token"),
                energy,
            )
        )
    silent = (
        []
        if quantiles
        else [f"No TTFT percentiles: fewer than {MIN_SAMPLES[50]} first tokens in every cell."]
    )
    return tuple(drawn), silent + ([] if busy else [_no_gpu(measured)])


def _against(measured: Sequence[Result], measure: str) -> str:
    """What a load is told by, in a title."""
    return "requests per second" if any(r.cell.load.arrivals for r in measured) else measure


def _size(r: Result) -> float:
    return r.cell.load.size


def _goodput(measured: Sequence[Result], measure: str, anchor: str, of: Sources) -> list[Chart]:
    """Where limits were given: what was answered within them."""
    kept = dict.fromkeys(limits(r.metrics.slo) for r in measured if r.metrics and r.metrics.slo)
    rows = [
        _row(r, of, f"{GOODPUT.figure(r)} {GOODPUT.title}", good=r.metrics.goodput_per_s)
        for r in measured
        if r.metrics is not None and r.metrics.goodput_per_s is not None
    ]
    if not rows:
        return []
    spec = charts.over_loads(rows, of.engines, x=measure, y="good", title="requests/s")
    title = f"Answered within limits against {_against(measured, measure)}"
    return [
        Chart(f"{anchor}-good", title, f"Requests per second that kept at most {'; '.join(kept)}", spec, rows)
    ]


def _rate_rows(measured: Sequence[Result], of: Sources) -> list[Row]:
    rows = []
    for r in measured:
        m = r.metrics
        if m is None:
            continue
        between = (
            {"low": m.tokens_per_s_bounds.low, "high": m.tokens_per_s_bounds.high}
            if m.tokens_per_s_bounds
            else {}
        )
        rows.append(_row(r, of, f"{TOKEN_RATE.figure(r)} tok/s", rate=m.tokens_per_s, **between))
    return rows


def _ttft_rows(measured: Sequence[Result], of: Sources) -> tuple[list[Row], str]:
    """A row per cell and percentile that so many samples can tell, and which ones they cannot."""
    rows: list[Row] = []
    untold: dict[str, list[str]] = {}
    for r in measured:
        m = r.metrics
        if m is None:
            continue
        for q in PERCENTILES:
            value, bounds = m.ttft_s.percentile(q), getattr(m.ttft_s_bounds, f"p{q}")
            if not value:
                untold.setdefault(f"p{q}", []).append(
                    f"{of.names[r.cell.group]} with {load_size(r.cell.load)}"
                )
                continue
            between = (
                {"low": bounds.low * 1e3, "high": bounds.high * 1e3} if bounds and bounds.low > 0 else {}
            )
            words = f"TTFT p{q} {units.ms(value)}{MARKS[level(r)]} ms"
            rows.append(_row(r, of, words, quantile=f"p{q}", ms=value * 1e3, **between))
    told = [f"{q} ({MIN_SAMPLES[int(q[1:])]} needed): {', '.join(cells)}" for q, cells in untold.items()]
    return rows, f"Too few samples for {'; '.join(told)}." if told else ""


def _busy_rows(measured: Sequence[Result], of: Sources) -> list[Row]:
    rows = []
    for r in measured:
        busy = gpu_busy_share(r)
        if busy is not None and r.metrics is not None:
            words = f"{TOKEN_RATE.figure(r)} tok/s, GPU busy {units.percent(busy)}{MARKS[level(r)]}"
            label = f"{load_size(r.cell.load)}{MARKS[level(r)]}"
            rows.append(_row(r, of, words, busy=busy * 100, rate=r.metrics.tokens_per_s, label=label))
    return rows


def _correlation(measured: Sequence[Result]) -> str:
    """Pearson's r over the cells that are not invalid; it bears the worst of their marks."""
    pairs = [
        (busy, r.metrics.tokens_per_s, level(r))
        for r in measured
        if r.metrics and level(r) is not Level.INVALID and (busy := gpu_busy_share(r)) is not None
    ]
    if len(pairs) < FEWEST_TO_CORRELATE:
        return f"No correlation is given for fewer than {FEWEST_TO_CORRELATE} cells."
    busy_of, rates, levels = zip(*pairs, strict=True)
    if np.std(busy_of) == 0 or np.std(rates) == 0:
        return "No correlation: one of the two never changes."
    worst = Level.VALID
    for one in levels:
        worst = worse(worst, one)
    r = float(np.corrcoef(busy_of, rates)[0, 1])
    return f"Pearson's r = {r:.2f}{MARKS[worst]} over {len(pairs)} cells, loads and engines mixed."


def _no_gpu(measured: Sequence[Result]) -> str:
    where = "the engines ran on the CPU" if costs.on_cpu(measured) else "telemetry saw no GPU"
    return f"No GPU utilisation, power, energy or clocks: {where}."


def _curves(measured: Sequence[Result], anchor: str, of: Sources) -> tuple[tuple[Chart, ...], list[str]]:
    """How latencies are distributed, a chart per kind, side by side for each load."""
    drawn, silent = [], []
    for name, (title, axis) in CURVES.items():
        rows = [row for r in measured for row in _curve_rows(r, name, of)]
        loads = dict.fromkeys(counted([r.cell.load]) for r in sorted(measured, key=_size))
        present = [load for load in loads if any(row["load"] == load for row in rows)]
        if rows:
            spec = charts.curves(rows, of.engines, present, title=axis)
            about = "Each line ends at the last percentile that its samples can tell"
            drawn.append(Chart(f"{anchor}-{name}", title, about, spec, rows, columns=len(present)))
        elif measured:
            silent.append(f"No distribution of {axis}: too few samples, or the records hold none.")
    return tuple(drawn), silent


def _curve_rows(r: Result, name: str, of: Sources) -> list[Row]:
    trace = of.traces.get(r.cell.id, EMPTY)
    curve = [(share, s) for share, s in trace.curves.get(name, ()) if s > 0]
    engine, mark = of.names[r.cell.group], MARKS[level(r)]
    load = counted([r.cell.load])
    last = curve[-1][0] if curve else 0.0
    return [
        {
            "engine": engine,
            "load": load,
            "cell": r.cell.id,
            "mark": mark,
            "share": share,
            "ms": float(f"{s * 1e3:.5g}"),
            **(
                {"end": True, "words": f"{engine}, {load}\n{share:.1%} within {units.ms(s)}{mark} ms"}
                if share == last
                else {}
            ),
        }
        for share, s in curve
    ]


def _timeline(r: Result, anchor: str, of: Sources) -> Timeline:
    """One cell over time; the title of each panel has the cell's mark."""
    m, mark = r.metrics, MARKS[level(r)]
    if m is None:
        raise ValueError(f"{r.cell.id} has no figures")
    rows = timelines.rows(m, of.traces.get(r.cell.id, EMPTY), mark)
    title = f"{of.names[r.cell.group]}, {counted([r.cell.load])}"
    absent = timelines.absent(rows)
    return Timeline(
        title=title,
        figures=f"{TOKEN_RATE.figure(r)} tok/s, TTFT {TTFT_MEAN.figure(r)} ms",
        verdict=level(r).value,
        remarks=(*(f.text for f in (r.verdict.findings if r.verdict else ())), *r.notes),
        absent=f"No readings of: {', '.join(absent)}." if absent else "",
        chart=Chart(
            f"{anchor}-{r.cell.id}",
            title,
            f"{r.cell.group.workload.window_s:g}-second windows; ramp and drain are shaded",
            timelines.spec(rows, mark),
            rows,
        ),
    )


def _phases(field: Field, anchor: str, names: Names) -> Chart | None:
    started = events.phases_s(field.results)
    rows = [
        {
            "engine": names[group],
            "phase": phase.value,
            "place": place,
            "seconds": seconds,
            "words": f"{names[group]}\n{phase.value}: {units.seconds(seconds)}",
        }
        for group, of in started.items()
        for place, phase in enumerate(events.STARTING)
        if (seconds := of.get(phase)) is not None
    ]
    if not rows:
        return None
    order = [phase.value for phase in events.STARTING if any(row["phase"] == phase.value for row in rows)]
    about = "Seconds of each phase in this run; what came from the cache took none"
    return Chart(
        f"{anchor}-start", "From nothing to the first answer", about, charts.phases(rows, order), rows
    )
