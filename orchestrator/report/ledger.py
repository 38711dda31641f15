"""Where a night went, for a person. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.domain.ledger import WORDS, Ledger
from orchestrator.report import layout, units

OVERHEAD = "in no phase"
HEADINGS = ("what", "took", "share")


def sections(ledger: Ledger | None) -> list[str]:
    """A heading with the answer, and a table; nothing for a run that has no journal."""
    if ledger is None or not ledger.wall_s:
        return []
    table = layout.table(HEADINGS, rows(ledger))
    return [f"## Where the time went: {answer(ledger)}", *remarks(ledger), table]


def rows(ledger: Ledger) -> list[list[str]]:
    """What took how long, under HEADINGS."""
    return [[name, units.seconds(took_s), _share(took_s, ledger)] for name, took_s in _rows(ledger)]


def lines(ledger: Ledger) -> Iterator[str]:
    """For the end of a run."""
    yield f"where the time went: {answer(ledger)}"
    yield "  " + ", ".join(f"{name} {units.seconds(took_s)}" for name, took_s in _rows(ledger))
    yield from (f"  {remark}" for remark in remarks(ledger))


def answer(ledger: Ledger) -> str:
    """How much of it was what a night is for."""
    return f"{units.percent(ledger.measuring_share)} of {units.seconds(ledger.wall_s)} were spent measuring"


def remarks(ledger: Ledger) -> list[str]:
    """What a reader must know besides."""
    said = []
    if ledger.sittings > 1:
        said.append(f"In {ledger.sittings} sittings, {ledger.cut_short} of which did not come to an end.")
    if ledger.failed_s >= 1:
        said.append(f"{units.seconds(ledger.failed_s)} of it went into phases that failed.")
    return said


def _rows(ledger: Ledger) -> list[tuple[str, float]]:
    known = [(WORDS.get(name, name), took_s) for name, took_s in ledger.phases_s.items()]
    return [*known, (OVERHEAD, ledger.overhead_s)]


def _share(took_s: float, ledger: Ledger) -> str:
    return units.percent(took_s / ledger.wall_s)
