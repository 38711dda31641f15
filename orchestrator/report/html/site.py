"""Many runs -> the values of the site's two pages: the latest matrix, and every series over time. Pure.

A series is what stays the same from night to night: work, load, backend, profile, release line, hardware, METHOD.
Versions change within it: that is what is watched.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from zlib import crc32

from backends.contract import Accelerator
from orchestrator.domain.cell import Cell, CellGroup
from orchestrator.domain.provenance import Host
from orchestrator.domain.reasons import Level
from orchestrator.domain.result import METHOD
from orchestrator.domain.workload import SystemPrompt
from orchestrator.report import headline, units
from orchestrator.report.figures import MARKS, RATE_BOUNDS, TOKEN_RATE, TTFT_MEAN, level
from orchestrator.report.html import charts
from orchestrator.report.html.charts import Chart, Row
from orchestrator.report.html.deck import Deck, deck
from orchestrator.report.markdown import summary
from orchestrator.report.records import RunRecord, Stored

RATE, TTFT = "tokens_per_s", "ttft_mean_s"


@dataclass(frozen=True, slots=True)
class ChangePoint:
    """From this cell on a series is another one. `figure` is RATE or TTFT; `words` say how, `short` fits a chart."""

    run_id: str
    cell_id: str
    figure: str
    words: str
    short: str


@dataclass(frozen=True, slots=True, order=True)
class SeriesKey:
    """`traits` are release line, profile and runtime; a backend may have several series of one work."""

    model: str
    workload: str
    with_system_prompt: bool
    machine: str
    method: int
    users: int
    backend: str
    traits: tuple[str, ...]


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

    title: str
    charts: tuple[Chart, ...]
    changes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Listed:
    run_id: str
    day: str
    tally: str


@dataclass(frozen=True, slots=True)
class Site:
    matrices: tuple[Matrix, ...]
    plots: tuple[tuple[str, tuple[Plot, ...]], ...]
    runs: tuple[Listed, ...]
    deck: Deck


@dataclass(frozen=True, slots=True)
class _Point:
    run: RunRecord
    stored: Stored
    group: CellGroup


def site(runs: Sequence[RunRecord], changes: Sequence[ChangePoint] = ()) -> Site:
    """`runs` in any order; what counts is when they were begun."""
    ordered = sorted(runs, key=lambda run: (run.created_at, run.id))
    series = _series(ordered)
    plots = tuple((title, tuple(_plots(of, changes))) for title, of in _by_work(series).items())
    drawn = [chart for _, of in plots for plot in of for chart in plot.charts]
    return Site(
        matrices=tuple(_matrix(title, of) for title, of in _by_work(series).items()),
        plots=plots,
        runs=tuple(Listed(r.id, r.created_at[:10], _tally(r)) for r in reversed(ordered)),
        deck=deck(drawn),
    )


def _tally(run: RunRecord) -> str:
    return summary(run.cells, run).partition(". ")[2]


def _series(runs: Iterable[RunRecord]) -> dict[SeriesKey, list[_Point]]:
    found: dict[SeriesKey, list[_Point]] = {}
    for run in runs:
        for stored in run.cells:
            if stored.cell is not None:
                found.setdefault(_key(run, stored, stored.cell), []).append(
                    _Point(run, stored, stored.cell.group)
                )
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
        users=cell.load.users,
        backend=group.backend,
        traits=(group.release, group.profile.value if group.profile else "", group.runtime.value),
    )


def _machine(host: Host | None, group: CellGroup) -> str:
    """GPUs where they were used, else the CPU."""
    if host is None:
        return "unknown machine"
    if host.gpus and group.accelerator is not Accelerator.CPU:
        return ", ".join(g.name for g in host.gpus)
    return f"{host.cpu} ({units.count(host.cpus, 'core')})"


def _by_work(series: dict[SeriesKey, list[_Point]]) -> dict[str, dict[SeriesKey, list[_Point]]]:
    works: dict[str, dict[SeriesKey, list[_Point]]] = {}
    for key, points in series.items():
        works.setdefault(_title(key), {})[key] = points
    return works


def _title(key: SeriesKey) -> str:
    prompt = " with system prompt" if key.with_system_prompt else ""
    return f"{key.model}, {key.workload}{prompt} · {key.machine} · METHOD {key.method}"


def _lines(of: Iterable[SeriesKey]) -> dict[SeriesKey, str]:
    """What each series is called within its work: the backend, and only those traits that tell several apart."""
    keys = list(of)
    told = [i for i in range(len(keys[0].traits)) if len({key.traits[i] for key in keys}) > 1]
    extra = {key: ", ".join(key.traits[i] for i in told if key.traits[i]) for key in keys}
    return {key: f"{key.backend} ({extra[key]})" if extra[key] else key.backend for key in keys}


def _matrix(title: str, of: dict[SeriesKey, list[_Point]]) -> Matrix:
    work, _, about = title.partition(" · ")
    users = sorted({key.users for key in of})
    lines = _lines(of)
    newest = {(lines[key], key.users): _entry(points[-1]) for key, points in of.items()}
    rows = tuple(
        (line, tuple(newest.get((line, n), Entry(instead="-")) for n in users))
        for line in dict.fromkeys(lines.values())
    )
    return Matrix(work, about, tuple(units.count(n, "user") for n in users), rows)


def _entry(point: _Point) -> Entry:
    result, where = point.stored.result, (point.run.id, point.run.created_at[:10], point.group.version)
    run_id, day, version = where
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


def _plots(of: dict[SeriesKey, list[_Point]], changes: Sequence[ChangePoint]) -> Iterator[Plot]:
    known = {(c.run_id, c.cell_id, c.figure): c for c in changes}
    lines = _lines(of)
    engines = tuple(dict.fromkeys(lines.values()))
    for users in sorted({key.users for key in of}):
        points = [(lines[key], p) for key, found in of.items() if key.users == users for p in found]
        first = next(key for key in of if key.users == users)
        anchor = f"s{crc32(_title(first).encode())}-{users}"
        rate = [row for line, p in points if (row := _row(line, p, RATE, known)) is not None]
        ttft = [row for line, p in points if (row := _row(line, p, TTFT, known)) is not None]
        drawn = [
            Chart(
                f"{anchor}-{name}",
                title,
                "every run a point",
                charts.over_time(rows, engines, y="y", title=axis),
                rows,
            )
            for name, title, axis, rows in (
                ("rate", "Token rate", "tok/s", rate),
                ("ttft", "Mean time to first token", "TTFT mean (ms)", ttft),
            )
            if rows
        ]
        told = [
            f"{row['at'][:10]}, {row['engine']}: {row['change']}" for row in (*rate, *ttft) if row["change"]
        ]
        if drawn:
            yield Plot(units.count(users, "user"), tuple(drawn), tuple(told))


def _row(line: str, point: _Point, figure: str, known: dict[tuple[str, str, str], ChangePoint]) -> Row | None:
    result = point.stored.result
    if result is None or result.metrics is None or level(result) is Level.INVALID:
        return None
    m, mark = result.metrics, MARKS[level(result)]
    value = m.tokens_per_s if figure == RATE else (m.ttft_s.mean or 0) * 1e3
    bounds = m.tokens_per_s_bounds if figure == RATE else None
    column = TOKEN_RATE if figure == RATE else TTFT_MEAN
    change = known.get((point.run.id, point.stored.cell_id, figure))
    return {
        "at": point.run.created_at,
        "engine": line,
        "line": line,
        "mark": mark,
        "y": value,
        **({"low": bounds.low, "high": bounds.high} if bounds else {}),
        "change": change.words if change else "",
        "short": change.short if change else "",
        "words": f"{line}\n{column.figure(result)} {column.title}\n{point.group.version}, run {point.run.id}",
    }
