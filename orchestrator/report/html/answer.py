"""The first screen: who leads at which load, how sure that is, and what must not be compared. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from orchestrator.domain.cell import Load
from orchestrator.domain.provenance import Provenance
from orchestrator.domain.reasons import Level
from orchestrator.domain.result import Result
from orchestrator.report import comparison, control, events, groups, headline, history, layout, proof
from orchestrator.report.figures import GOODPUT, RATE_BOUNDS, TOKEN_RATE, TTFT_MEAN
from orchestrator.report.groups import Field, counted, load_name
from orchestrator.report.headline import Names
from orchestrator.report.html.values import Place, Ranking
from orchestrator.report.records import RunRecord, State, Stored


def ranking(field: Field, names: Names, anchor: str) -> Ranking:
    """Engines in the order of their places, a column per load."""
    loads = tuple(dict.fromkeys(s.cell.load for s in field.cells if s.cell))
    places = {load: _places(field, names, load) for load in loads}
    engines = dict.fromkeys(names[s.cell.group] for s in field.cells if s.cell)
    order = sorted(engines, key=lambda engine: _merit([places[load].get(engine) for load in loads]))
    return Ranking(
        title=field.title,
        answer=headline.answer(field, names).partition(": ")[2],
        loads=tuple(counted([load]) for load in loads),
        rows=tuple(
            (e, tuple(places[load].get(e, Place(instead="not planned")) for load in loads)) for e in order
        ),
        good=any(r.metrics is not None and r.metrics.slo is not None for r in field.results),
        anchor=anchor,
    )


def care(run: RunRecord, fields: Sequence[Field], names: Names) -> tuple[str, ...]:
    """What a reader must know before comparing: each thing once, with where it holds."""
    results = [r for field in fields for r in field.results]
    return (
        *_unlike_machines(results, names),
        *_hosts(results),
        *_open(fields),
        *([f"{history.changed(run.changes)}; what and why stands below"] if run.changes else []),
        *(f"Control: {text}" for text in control.words(run.cells)),
        *_methods(results),
        *(f"{field.title}: {_uncapital(text)}" for field in fields if (text := _unequal(field))),
        *_reasons(fields, names),
        *_without_figures(run.cells, names),
        *events.refusals(run),
        *events.torn(run),
        *_deviating(results, names),
    )


def _places(field: Field, names: Names, load: Load) -> dict[str, Place]:
    cells = [s for s in field.cells if s.cell and s.cell.load == load]
    standings = groups.standings([s.result for s in cells if s.result is not None])
    ranks = {names[s.result.cell.group]: str(s.rank) for s in standings} if len(standings) > 1 else {}
    return {names[s.cell.group]: _place(s, ranks.get(names[s.cell.group], "")) for s in cells if s.cell}


def _place(stored: Stored, rank: str) -> Place:
    result = stored.result
    if result is None or result.metrics is None:
        return Place(instead=headline.verdict(stored))
    return Place(
        rank=rank,
        rate=TOKEN_RATE.figure(result),
        bounds=RATE_BOUNDS.figure(result),
        ttft=TTFT_MEAN.figure(result),
        good=GOODPUT.figure(result),
    )


def _merit(places: Sequence[Place | None]) -> tuple[int, float]:
    """Fewest places without a rank first, then the best mean rank."""
    ranks = [int(p.rank) for p in places if p is not None and p.rank]
    return len(places) - len(ranks), sum(ranks) / len(ranks) if ranks else 0.0


def _unlike_machines(results: Sequence[Result], names: Names) -> list[str]:
    """Engines that ran on different hardware are no comparison of engines."""
    found: dict[tuple[object, ...], dict[str, None]] = {}
    for r in results:
        if r.provenance is not None:
            found.setdefault(_hardware(r.provenance), {})[names[r.cell.group]] = None
    if len(found) < 2:  # noqa: PLR2004
        return []
    told = [f"{layout.joined(list(engines))} on {_spoken(machine)}" for machine, engines in found.items()]
    return [f"Not the same hardware: {'; '.join(told)}"]


def _hosts(results: Sequence[Result]) -> list[str]:
    """Hosts of one make differ too."""
    return [text[:1].upper() + text[1:] for text in comparison.hosts_apart(results)]


def _open(fields: Sequence[Field]) -> list[str]:
    """Where a loop is open, a rank by token rate says little until an engine does not keep up."""
    titles = [
        f.title for f in fields if len({r.cell.group for r in f.results}) > 1 and f.measure == groups.RATE
    ]
    text = (
        "an open loop asks the same of every engine, so that token rates differ only where one does not keep up, or "
        "answers at another length; the rank is by what was within limits, then by mean TTFT"
    )
    return [f"{layout.joined(titles)}: {text}"] if titles else []


def _hardware(p: Provenance) -> tuple[object, ...]:
    return tuple(g.name for g in p.host.gpus), p.host.cpu, p.host.cpus


def _spoken(machine: tuple[object, ...]) -> str:
    gpus, cpu, cpus = machine
    return f"{', '.join(gpus) if isinstance(gpus, tuple) and gpus else 'no GPU'}, {cpu} ({cpus} cores)"


def _methods(results: Sequence[Result]) -> list[str]:
    methods = sorted({r.method for r in results})
    return (
        [f"Measured by METHODs {layout.joined(list(map(str, methods)))}: these are never ranked together"]
        if len(methods) > 1
        else []
    )


def _unequal(field: Field) -> str:
    return comparison.unequal([r for r in field.results if r.metrics is not None])


def _uncapital(text: str) -> str:
    return text[:1].lower() + text[1:]


def _reasons(fields: Sequence[Field], names: Names) -> list[str]:
    """Findings, those with the same reason at one engine together: the words of the first, and where else."""
    found: dict[tuple[str, str, str], list[tuple[str, str]]] = {}
    for field in fields:
        for r in field.results:
            for f in r.verdict.findings if r.verdict else ():
                key = (names[r.cell.group], f.level.value, f.reason.value)
                found.setdefault(key, []).append((f"{field.title}, {counted([r.cell.load])}", f.text))
    order = (Level.INVALID.value, Level.SUSPECT.value)
    ordered = sorted(found.items(), key=lambda item: order.index(item[0][1]))
    return [_reason(key, where) for key, where in ordered]


def _reason(key: tuple[str, str, str], where: Sequence[tuple[str, str]]) -> str:
    engine, verdict, _ = key
    (first, text), *others = where
    also = f"; likewise: {'; '.join(place for place, _ in others)}" if others else ""
    return f"{engine} is {verdict} ({first}): {text}{also}"


def _without_figures(cells: Sequence[Stored], names: Names) -> list[str]:
    """Failed, unfinished and damaged cells, together where the word is the same."""
    found: dict[tuple[str, str], list[str]] = {}
    for s in cells:
        if s.cell is None:
            found.setdefault((s.cell_id, f"{s.state.value} ({s.reason})"), []).append("")
        elif s.state is not State.COMPLETE or (s.result is not None and s.result.failure is not None):
            key = (names[s.cell.group], headline.verdict(s))
            found.setdefault(key, []).append(f"{s.cell.group.model}, {load_name(s.cell)}")
    return [
        f"{name}, {word}: {'; '.join(w for w in where if w)}".rstrip(": ")
        for (name, word), where in found.items()
    ]


def _deviating(results: Sequence[Result], names: Names) -> list[str]:
    counts = Counter(row[0] for row in proof.deviation_rows(results, names))
    told = [f"{n} of {engine}" for engine, n in counts.items()]
    text = f"Settings that are not an engine's default: {', '.join(told)} (each with its reason below)"
    return [text] if told else []
