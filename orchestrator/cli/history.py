"""`levelbench history` and `levelbench summary`: runs against each other, and one run for whoever is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from enum import Enum
from typing import Annotated, Optional

import typer

from orchestrator import retrospect
from orchestrator.cli.app import app
from orchestrator.cli.options import AsJson, print_json
from orchestrator.console import Console
from orchestrator.domain.costs import phase_costs
from orchestrator.domain.judged import Judged
from orchestrator.errors import RequestError, unknown
from orchestrator.report import history as report
from orchestrator.report import junit
from orchestrator.report import summary as page
from orchestrator.store.index import Fault, Index
from orchestrator.store.runs import LATEST, RunFolder

OptionalText = Optional[str]  # noqa: UP045 - typer reads it at run time, also on Python 3.10
history = typer.Typer(add_completion=False)
app.add_typer(history, name="history")


class Format(str, Enum):
    """What a summary is written as."""

    MD = "md"
    JUNIT = "junit"
    JSON = "json"


@history.callback(invoke_without_command=True)
def show(
    context: typer.Context,
    backend: Annotated[OptionalText, typer.Option("--backend", help="Only that engine.")] = None,
    model: Annotated[OptionalText, typer.Option("--model", help="Only that model.")] = None,
    cell: Annotated[OptionalText, typer.Option("--cell", help="Only cells whose name holds this.")] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Print every series of runs: its figures over time, what got worse or better, and what else had changed.

    A series is one cell on one hardware, measured by one METHOD; docs/history.md says how it is judged.
    """
    if context.invoked_subcommand is not None:
        return
    found = retrospect.look_back(context.obj.runs_dir, Console().step)
    judged = _narrowed(found.judged, backend, model, cell) if found.judged else ()
    if as_json:
        faults = [{"run": f.run, "cell": f.cell, "reason": f.reason} for f in found.faults]
        print_json({"series": [report.record(one) for one in judged], "not_read": faults})
    else:
        typer.echo(report.page(judged, faults=[_fault(f) for f in found.faults]), nl=False)


@history.command()
def rebuild(context: typer.Context) -> None:
    """Make the index again from the run folders, every file of them checked against its seal."""
    index = Index(context.obj.runs_dir)
    index.rebuild(Console().step)
    for fault in index.faults():
        typer.echo(f"not read: {_fault(fault)}")
    typer.echo(f"{len(index.entries())} results in {index.path}")


@history.command()
def costs(context: typer.Context, *, as_json: AsJson = False) -> None:
    """Print what each phase of an engine with a model took so far: the usual, the most, the last."""
    index = Index(context.obj.runs_dir)
    index.refresh(Console().step)
    found = phase_costs(index.entries())
    if as_json:
        print_json([{**asdict(work), **asdict(cost)} for work, cost in found.items()])
    else:
        typer.echo(report.costs(found), nl=False)


@app.command()
def summary(
    context: typer.Context,
    run: Annotated[str, typer.Argument(help="A run's name; `latest` is the one begun last.")] = LATEST,
    written_as: Annotated[Format, typer.Option("--format", help="Markdown, JUnit XML or JSON.")] = Format.MD,
) -> None:
    """Print a run in short, held against the runs before it: what a webhook and a CI job are told."""
    folder = RunFolder.find(context.obj.runs_dir, run)
    found = retrospect.summary(folder, say=Console().say)
    if written_as is Format.JSON:
        print_json(page.as_json(found))
    else:
        typer.echo(page.markdown(found) if written_as is Format.MD else junit.xml(found), nl=False)


def _narrowed(
    judged: Sequence[Judged], backend: str | None, model: str | None, cell: str | None
) -> Sequence[Judged]:
    """Those that were asked for. RequestError where there is none: a slip, more likely than a finding."""
    for kind, name, known in (
        ("backend", backend, {one.newest.backend for one in judged}),
        ("model", model, {one.newest.model for one in judged}),
    ):
        if name is not None and name not in known:
            raise unknown(f"{kind} of these runs", name, known)
    found = [
        one
        for one in judged
        if backend in (None, one.newest.backend)
        and model in (None, one.newest.model)
        and (cell or "") in one.newest.cell
    ]
    if not found:
        options = (("--backend", backend), ("--model", model), ("--cell", cell))
        asked = " ".join(f"{option} {name}" for option, name in options if name is not None)
        raise RequestError(f"no series is {asked}", hint="levelbench history, without options, lists all")
    return found


def _fault(fault: Fault) -> str:
    return f"{fault.run}{f', {fault.cell}' if fault.cell else ''}: {fault.reason}"
