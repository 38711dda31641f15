"""A run in one value, for whoever is told of it in the morning: every cell's end, and what the history says. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from orchestrator.domain.judged import Judged
from orchestrator.domain.reasons import Level
from orchestrator.domain.reruns import Conclusion
from orchestrator.domain.result import Phase
from orchestrator.domain.series import Trend
from orchestrator.report import headline, history, layout, units
from orchestrator.report.figures import level
from orchestrator.report.records import RunRecord, State, Stored


class Ending(str, Enum):
    """How a cell came out."""

    VALID = "valid"
    SUSPECT = "suspect"
    INVALID = "invalid"
    FAILED = "failed"
    WAIVED = "waived"
    UNFINISHED = "unfinished"
    DAMAGED = "damaged"
    LEFT_OUT = "left out"

    @property
    def is_trouble(self) -> bool:
        return self in (Ending.INVALID, Ending.FAILED, Ending.UNFINISHED, Ending.DAMAGED)


@dataclass(frozen=True, slots=True)
class Case:
    """One cell: what a person reads of it in a line, and of a failure its kind and last log lines."""

    cell: str
    group: str
    ending: Ending
    text: str
    kind: str = ""
    log_tail: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Summary:
    """A run: its cells in the plan's order; `judged` are the series whose newest run it is, `known` what measuring
    again came to, by cell."""

    run: str
    created_at: str
    cases: tuple[Case, ...]
    judged: tuple[Judged, ...] = ()
    folder: str = ""
    known: Mapping[str, Conclusion] = field(default_factory=dict)

    @property
    def regressions(self) -> tuple[Judged, ...]:
        """But for those that a second run has not confirmed, and for failures that are waived."""
        waived = {case.cell for case in self.cases if case.ending is Ending.WAIVED}
        return tuple(
            one
            for one in self.judged
            if one.trend is Trend.REGRESSION and not self._denied(one) and one.newest.cell not in waived
        )

    def _denied(self, one: Judged) -> bool:
        """Whether a second run showed no change."""
        found = self.known.get(one.newest.cell)
        return found is not None and found.confirmed is False

    @property
    def findings(self) -> list[str]:
        """A line for each series with news."""
        return history.findings(self.judged, self.known)

    @property
    def is_well(self) -> bool:
        return not self.regressions and not any(case.ending.is_trouble for case in self.cases)

    @property
    def tally(self) -> str:
        """`3 cells: 2 valid, 1 failed`."""
        counts = Counter(case.ending for case in self.cases)
        told = ", ".join(f"{counts[ending]} {ending.value}" for ending in Ending if counts[ending])
        return f"{units.count(len(self.cases), 'cell')}: {told or 'none'}"


def summarise(
    record: RunRecord,
    *,
    waived: Mapping[str, str] = {},
    left_out: Mapping[str, str] = {},
    judged: Sequence[Judged] = (),
    folder: str = "",
) -> Summary:
    """`waived` and `left_out` have reasons by cell; a waived cell that did not fail is as it is."""
    cases = [_case(stored, waived, left_out) for stored in record.cells]
    refused = [_refused(one) for one in record.plan.get("refused", ())]
    mine = tuple(one for one in judged if one.newest.run == record.id)
    known = {change.cell: change.conclusion for change in record.changes}
    return Summary(record.id, record.created_at, (*cases, *refused), mine, folder, known)


def markdown(summary: Summary) -> str:
    """A page for a chat, a job's summary or a mail: what is wrong comes first."""
    title = f"## levelbench {summary.run}: {'well' if summary.is_well else 'needs a look'}"
    trouble = [case for case in summary.cases if case.ending.is_trouble]
    rows = [[case.cell, case.ending.value, case.text] for case in summary.cases]
    parts = [
        title,
        f"Begun {summary.created_at}. {summary.tally}.",
        *_section("Regressions and improvements", summary.findings),
        *_section("Failed, unfinished or invalid", [f"{case.cell}: {case.text}" for case in trouble]),
    ]
    if rows:
        parts += ["### Cells", layout.table(("cell", "outcome", "in a line"), rows, texts=3)]
    if summary.judged:
        steady = Counter(one.trend for one in summary.judged)
        told = ", ".join(f"{n} {trend.value.replace('-', ' ')}" for trend, n in steady.items())
        parts.append(f"Against earlier runs: {told}.")
    return "\n\n".join(parts) + "\n"


def as_json(summary: Summary) -> dict[str, Any]:
    """The same for other programs."""
    return {
        "run": summary.run,
        "created_at": summary.created_at,
        "well": summary.is_well,
        "tally": summary.tally,
        "folder": summary.folder,
        "cells": [
            {"cell": c.cell, "outcome": c.ending.value, "text": c.text, "kind": c.kind} for c in summary.cases
        ],
        "history": [history.record(one, summary.known.get(one.newest.cell)) for one in summary.judged],
        "findings": summary.findings,
    }


def _case(stored: Stored, waived: Mapping[str, str], left_out: Mapping[str, str]) -> Case:
    group = stored.cell.group.id if stored.cell else stored.cell_id
    result = stored.result
    if result is None:
        if stored.cell_id in left_out:
            return Case(stored.cell_id, group, Ending.LEFT_OUT, left_out[stored.cell_id])
        ending = Ending.DAMAGED if stored.state is State.DAMAGED else Ending.UNFINISHED
        return Case(stored.cell_id, group, ending, stored.reason)
    seconds = result.phases_s.get(Phase.MEASURE, 0.0)
    failure = result.failure
    if failure is None:
        ending = {Level.VALID: Ending.VALID, Level.SUSPECT: Ending.SUSPECT}.get(level(result), Ending.INVALID)
        kinds = " ".join(f.reason.value for f in result.verdict.findings) if result.verdict else ""
        return Case(stored.cell_id, group, ending, headline.one_line(result), kinds, seconds=seconds)
    kind, text = failure.cause.value, f"{failure.cause.value} in {failure.phase.value}: {failure.message}"
    if stored.cell_id in waived:
        text = f"waived ({waived[stored.cell_id]}), failed as known: {text}"
        return Case(stored.cell_id, group, Ending.WAIVED, text, kind, failure.log_tail, seconds)
    hint = f"; next: {failure.hint}" if failure.hint else ""
    return Case(stored.cell_id, group, Ending.FAILED, text + hint, kind, failure.log_tail, seconds)


def _refused(one: Mapping[str, Any]) -> Case:
    """A backend that cannot serve the model has no cell."""
    name = f"{one['backend']}-{one['release']}-{one['model']}"
    return Case(name, name, Ending.LEFT_OUT, str(one["refusal"]["reason"]), "refused")


def _section(title: str, lines: Sequence[str]) -> list[str]:
    return [f"### {title}", layout.bullets(lines)] if lines else []
