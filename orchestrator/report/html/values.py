"""What a page shows, as values: a template turns them into HTML and decides nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.domain.provenance import Host, Provenance
from orchestrator.report.html.charts import Chart
from orchestrator.report.html.deck import Deck


@dataclass(frozen=True, slots=True)
class Table:
    """Headings and rows of text; the first `texts` columns are words, the others figures with their marks.
    `differing` are rows whose figures are not all the same."""

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    texts: int = 1
    differing: frozenset[int] = frozenset()


EMPTY = Table((), ())


@dataclass(frozen=True, slots=True)
class Place:
    """One engine at one load, in the first table. Without figures `instead` says why."""

    rank: str = ""
    rate: str = ""
    bounds: str = ""
    ttft: str = ""
    good: str = ""
    instead: str = ""


@dataclass(frozen=True, slots=True)
class Ranking:
    """The answer of one model and kind of load: engines down, loads across, the best at most loads first. `good`:
    limits were given, and what was within them is shown."""

    title: str
    answer: str
    loads: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Place, ...]], ...]
    anchor: str
    good: bool = False


@dataclass(frozen=True, slots=True)
class Timeline:
    """A cell over time, folded until somebody opens it."""

    title: str
    figures: str
    verdict: str
    remarks: tuple[str, ...]
    absent: str
    chart: Chart


@dataclass(frozen=True, slots=True)
class Work:
    """Everything about one model and kind of load. `silent` says which charts there are not, and why."""

    anchor: str
    title: str
    answer: str
    charts: tuple[Chart, ...]
    curves: tuple[Chart, ...]
    figures: Table
    remarks: tuple[str, ...]
    certainty: Table
    unranked: tuple[str, ...]
    timelines: tuple[Timeline, ...]
    phases: Chart | None
    start: Table
    made: Table
    costs: Table
    costs_unknown: tuple[str, ...]
    spread: str
    fairness: Table
    sampling: str
    settings: Table
    silent: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FailedCell:
    """`fate` says what became of it besides: that it was not tried, or is waived, and why."""

    title: str
    cause: str
    phase: str
    message: str
    hint: str
    log_tail: str
    fate: str = ""


@dataclass(frozen=True, slots=True)
class Time:
    """Where the run's time went; without a row where nobody noted it."""

    answer: str = ""
    remarks: tuple[str, ...] = ()
    table: Table = EMPTY


@dataclass(frozen=True, slots=True)
class Engine:
    """A deployment's provenance under its name; on which host and in which attempt each of its cells was measured,
    where several had a part in the run."""

    title: str
    provenance: Provenance
    cpus: str = ""
    room: str = ""
    placed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Page:
    """The whole report."""

    run_id: str
    created_at: str
    tally: str
    machine: str
    rankings: tuple[Ranking, ...]
    care: tuple[str, ...]
    works: tuple[Work, ...]
    failed: tuple[FailedCell, ...]
    missing: tuple[str, ...]
    errors: Table
    literal: tuple[Table, ...]
    unchecked: tuple[str, ...]
    control: Table
    changed: str
    changes: tuple[tuple[str, str], ...]
    again: Table
    time: Time
    deviations: Table
    hosts: tuple[Host, ...]
    clients: tuple[str, ...]
    engines: tuple[Engine, ...]
    compared: Table
    methods: str
    rules: tuple[str, ...]
    deck: Deck
