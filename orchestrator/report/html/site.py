"""Many runs -> the values of the site's two pages: the latest matrix, and every series over time. Pure.

A series is one cell on one hardware, measured by one METHOD, as in the history (domain/judged.py). Versions change
within it: that is what is watched.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from zlib import crc32

from orchestrator.domain.cell import Cell, CellGroup, Role
from orchestrator.domain.entry import cell_key, hardware
from orchestrator.domain.provenance import Host
from orchestrator.domain.reasons import Level
from orchestrator.domain.result import METHOD
from orchestrator.domain.series import Watched
from orchestrator.domain.workload import SystemPrompt
from orchestrator.report import groups, headline, history
from orchestrator.report.figures import MARKS, RATE_BOUNDS, TOKEN_RATE, TTFT_MEAN, level
from orchestrator.report.groups import counted
from orchestrator.report.html import charts
from orchestrator.report.html.changes import UNTOLD, ChangePoint, Past
from orchestrator.report.html.charts import Chart, Row
from orchestrator.report.html.deck import Deck, deck
from orchestrator.report.html.values import EMPTY, Table
from orchestrator.report.markdown import summary
from orchestrator.report.records import RunRecord, Stored

RATE, TTFT = Watched.TOKEN_RATE, Watched.TTFT_MEAN


@dataclass(frozen=True, slots=True, order=True)
class SeriesKey:
    """`cell` is the cell's key in the history; what stands before it puts series in order."""

    model: str
    workload: str
    with_system_prompt: bool
    machine: str
    method: int
    size: float
    load: str
    backend: str
    cell: str


@dataclass(frozen=True, slots=True)
class Entry:
    """The newest figures of a series, or why there are none."""

    rate: str = ""
    bounds: str = ""
    ttft: str = ""
    instead: str = ""
    run_id: str = ""
    day: str = ""
    version: str = ""


@dataclass(frozen=True, slots=True)
class Matrix:
    """The latest of one work on one machine: engines down, loads across."""

    title: str
    about: str
    loads: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Entry, ...]], ...]


@dataclass(frozen=True, slots=True)
class Plot:
    """A load's rate and TTFT over time."""

    anchor: str
    title: str
    charts: tuple[Chart, ...]
    changes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Headline:
    """A series that is worse or better than before; `anchor` is where it is drawn, or empty."""

    word: str
    title: str
    text: str
    run_id: str
    anchor: str


@dataclass(frozen=True, slots=True)
class Listed:
    run_id: str
    day: str
    tally: str


@dataclass(frozen=True, slots=True)
class Site:
    """`claims` and `engines` come ready from those who know of claims and of engines."""

    matrices: tuple[Matrix, ...]
    plots: tuple[tuple[str, tuple[Plot, ...]], ...]
    headlines: tuple[Headline, ...]
    title: str
    standing: str
    runs: tuple[Listed, ...]
    claims: Table
    engines: Table
    deck: Deck


@dataclass(frozen=True, slots=True)
class _Point:
    run: RunRecord
    stored: Stored
    cell: Cell

    @property
    def group(self) -> CellGroup:
        return self.cell.group


def site(
    runs: Sequence[RunRecord], past: Past = UNTOLD, *, claims: Table = EMPTY, engines: Table = EMPTY
) -> Site:
    """`runs` in any order; what counts is when they were begun."""
    ordered = sorted(runs, key=lambda run: (run.created_at, run.id))
    works = _by_work(_series(ordered))
    plots = tuple((title, tuple(_plots(title, of, past.changes))) for title, of in works.items())
    drawn = [chart for _, of in plots for plot in of for chart in plot.charts]
    anchors = {
        (p.run.id, p.stored.cell_id): _anchor(title, key.load)
        for title, of in works.items()
        for key, points in of.items()
        for p in points
    }
    concluded = {(r.id, c.cell): [history.conclusion(c.conclusion)] for r in ordered for c in r.changes}
    there = {plot.anchor for _, of in plots for plot in of}
    return Site(
        matrices=tuple(_matrix(title, of) for title, of in works.items()),
        plots=plots,
        headlines=tuple(
            Headline(
                n.word,
                n.title,
                "; ".join([n.text, *concluded.get((n.run_id, n.cell_id), [])]),
                n.run_id,
                anchor if anchor in there else "",
            )
            for n in past.news
            for anchor in [anchors.get((n.run_id, n.cell_id), "")]
        ),
        title=past.title,
        standing=past.standing,
        runs=tuple(Listed(r.id, r.created_at[:10], _tally(r)) for r in reversed(ordered)),
        claims=claims,
        engines=engines,
        deck=deck(drawn),
    )


def _tally(run: RunRecord) -> str:
    return summary(run.cells, run).partition(". ")[2]


def _series(runs: Iterable[RunRecord]) -> dict[SeriesKey, list[_Point]]:
    """Of what was measured for its own sake: no control cells, no confirmations."""
    found: dict[SeriesKey, list[_Point]] = {}
    for run in runs:
        for stored in run.cells:
            cell = stored.cell
            if cell is not None and cell.group.role is Role.MEASURED:
                found.setdefault(_key(run, stored, cell), []).append(_Point(run, stored, cell))
    return dict(sorted(found.items()))


def _key(run: RunRecord, stored: Stored, cell: Cell) -> SeriesKey:
    """A cell that never came to a result belongs where its run's others of that accelerator do."""
    group = cell.group
    alike = [s.result for s in run.cells if s.result and s.result.cell.group.accelerator == group.accelerator]
    near = [r for r in (stored.result, *alike) if r is not None and r.provenance is not None]
    return SeriesKey(
        model=group.compared_as,
        workload=group.workload.id,
        with_system_prompt=cell.load.system_prompt is SystemPrompt.WITH,
        machine=_machine(near[0].provenance.host if near and near[0].provenance else None, group),
        method=near[0].method if near else METHOD,
        size=cell.load.size,
        load=counted([cell.load]),
        backend=group.backend,
        cell=cell_key(cell),
    )


def _machine(host: Host | None, group: CellGroup) -> str:
    return "unknown machine" if host is None else ", ".join(hardware(host, group.accelerator))


def _by_work(series: dict[SeriesKey, list[_Point]]) -> dict[str, dict[SeriesKey, list[_Point]]]:
    works: dict[str, dict[SeriesKey, list[_Point]]] = {}
    for key, points in series.items():
        works.setdefault(_title(key), {})[key] = points
    return works


def _title(key: SeriesKey) -> str:
    prompt = " with system prompt" if key.with_system_prompt else ""
    return f"{key.model}, {key.workload}{prompt} · {key.machine} · METHOD {key.method}"


def _anchor(title: str, load: str) -> str:
    return f"s{crc32(f'{title} {load}'.encode()):08x}"


def _lines(of: dict[SeriesKey, list[_Point]]) -> dict[SeriesKey, str]:
    """What each series is called within its work: the backend, and only what tells several apart."""
    newest = {key: points[-1].group for key, points in of.items()}
    called = groups.lines(list(dict.fromkeys(newest.values())))
    return {key: called[group] for key, group in newest.items()}


def _matrix(title: str, of: dict[SeriesKey, list[_Point]]) -> Matrix:
    work, _, about = title.partition(" · ")
    lines = _lines(of)
    newest: dict[tuple[str, str], _Point] = {}
    for key, points in sorted(of.items(), key=lambda item: item[1][-1].run.created_at):
        newest[lines[key], key.load] = points[-1]
    loads = tuple(dict.fromkeys(key.load for key in of))
    rows = tuple(
        (line, tuple(_entry(newest.get((line, load))) for load in loads))
        for line in dict.fromkeys(lines[key] for key in sorted(of, key=lambda k: (k.backend, lines[k])))
    )
    return Matrix(work, about, loads, rows)


def _entry(point: _Point | None) -> Entry:
    if point is None:
        return Entry(instead="-")
    result, run_id, day = point.stored.result, point.run.id, point.run.created_at[:10]
    version = point.group.version
    if result is None or result.metrics is None:
        return Entry(instead=headline.verdict(point.stored), run_id=run_id, day=day, version=version)
    return Entry(
        rate=TOKEN_RATE.figure(result),
        bounds=RATE_BOUNDS.figure(result),
        ttft=TTFT_MEAN.figure(result),
        run_id=run_id,
        day=day,
        version=version,
    )


def _plots(title: str, of: dict[SeriesKey, list[_Point]], changes: Sequence[ChangePoint]) -> Iterator[Plot]:
    lines = _lines(of)
    engines = tuple(dict.fromkeys(lines.values()))
    for load in dict.fromkeys(key.load for key in of):
        points = [(lines[key], key.cell, p) for key, found in of.items() if key.load == load for p in found]
        mine = {(p.run.id, p.stored.cell_id): (line, p) for line, _, p in points}
        told = [(*mine[c.run_id, c.cell_id], c) for c in changes if (c.run_id, c.cell_id) in mine]
        anchor = _anchor(title, load)
        drawn = [
            Chart(
                f"{anchor}-{name}",
                heading,
                "every run a point",
                charts.over_time(rows, engines, y="y", title=axis),
                rows,
            )
            for name, heading, axis, figure in (
                ("rate", "Token rate", "tok/s", RATE),
                ("ttft", "Mean time to first token", "TTFT mean (ms)", TTFT),
            )
            if (rows := [row for point in points if (row := _row(*point, figure, told)) is not None])
        ]
        words = sorted((p.run.created_at[:10], f"{line}: {c.words}") for line, p, c in told)
        if drawn:
            yield Plot(anchor, load, tuple(drawn), tuple(f"{day}, {text}" for day, text in words))


def _row(
    line: str,
    series: str,
    point: _Point,
    figure: Watched,
    told: Sequence[tuple[str, _Point, ChangePoint]],
) -> Row | None:
    result = point.stored.result
    if result is None or result.metrics is None or level(result) is Level.INVALID:
        return None
    m, mark = result.metrics, MARKS[level(result)]
    value = m.tokens_per_s if figure is RATE else (m.ttft_s.mean or 0) * 1e3
    bounds = m.tokens_per_s_bounds if figure is RATE else None
    column = TOKEN_RATE if figure is RATE else TTFT_MEAN
    change = next((c for _, p, c in told if p is point and c.figure is figure), None)
    return {
        "at": point.run.created_at,
        "engine": line,
        "line": series,
        "mark": mark,
        "y": value,
        **({"low": bounds.low, "high": bounds.high} if bounds else {}),
        "change": change.words if change else "",
        "short": change.short if change else "",
        "words": f"{line}\n{column.figure(result)} {column.title}\n{point.group.version}, run {point.run.id}",
    }
