"""Commands that measure, or say what measuring would do or has found."""

from __future__ import annotations

import sys

import typer
from rich.console import Console as RichConsole

from backends import DEFAULT, NATIVE
from backends.contract import PrefixCaching, Profile
from orchestrator import invocation, planning
from orchestrator.cli.app import app
from orchestrator.cli.options import (
    AcceleratorName,
    AsJson,
    BackendNames,
    Duration,
    ExtraArgs,
    FormatChoice,
    Gpus,
    ModelName,
    PrefixCache,
    ProfileName,
    ReleaseName,
    RuntimeName,
    ServingName,
    UserCounts,
    WorkloadName,
    names,
    numbers,
    positive,
    print_json,
    words,
)
from orchestrator.console import Console
from orchestrator.domain.cell import AcceleratorChoice, RuntimeChoice
from orchestrator.errors import CellError
from orchestrator.fleet import handing
from orchestrator.invocation import Place
from orchestrator.planning import Request
from orchestrator.report import console as tables
from orchestrator.report import plans
from orchestrator.report.records import Stored
from orchestrator.store.runs import PAGE, REPORT, RunFolder


@app.command()
def bench(
    context: typer.Context,
    backend: BackendNames = DEFAULT,
    model: ModelName = planning.DEFAULT_MODEL,
    workload: WorkloadName = None,
    users: UserCounts = None,
    duration: Duration = None,
    profile: ProfileName = Profile.DEFAULTS,
    release: ReleaseName = "current",
    runtime: RuntimeName = RuntimeChoice.AUTO,
    accelerator: AcceleratorName = AcceleratorChoice.AUTO,
    gpus: Gpus = "1",
    prefix_cache: PrefixCache = PrefixCaching.PROFILE,
    extra_arg: ExtraArgs = None,
    serving: ServingName = NATIVE,
    as_json: AsJson = False,
) -> None:
    """Measure engines: install, start, load, judge, take down, report.

    Without options: a real engine on the CPU with a small model made here, in under two minutes.
    """
    place: Place = context.obj
    asked = (backend, model, workload, users, duration, profile, release, runtime, accelerator, gpus)
    options = (*asked, prefix_cache, extra_arg, serving)
    folder, complete = invocation.execute(place, _request(place, *options), Console())
    show(folder, as_json=as_json)
    if not complete:
        raise typer.Exit(CellError.exit_code)


@app.command()
def plan(
    context: typer.Context,
    backend: BackendNames = DEFAULT,
    model: ModelName = planning.DEFAULT_MODEL,
    workload: WorkloadName = None,
    users: UserCounts = None,
    duration: Duration = None,
    profile: ProfileName = Profile.DEFAULTS,
    release: ReleaseName = "current",
    runtime: RuntimeName = RuntimeChoice.AUTO,
    accelerator: AcceleratorName = AcceleratorChoice.AUTO,
    gpus: Gpus = "1",
    prefix_cache: PrefixCache = PrefixCaching.PROFILE,
    extra_arg: ExtraArgs = None,
    serving: ServingName = NATIVE,
    format_: FormatChoice = None,
    as_json: AsJson = False,
) -> None:
    """Print what `bench` would do with the same options, and touch nothing."""
    place: Place = context.obj
    asked = (backend, model, workload, users, duration, profile, release, runtime, accelerator, gpus)
    options = (*asked, prefix_cache, extra_arg, serving)
    prepared = invocation.prepare(place, _request(place, *options), pull=False)
    if format_ is not None:
        typer.echo(handing.text(prepared.plan, format_), nl=False)
    elif as_json:
        print_json(prepared.plan.model_dump(mode="json"))
    else:
        typer.echo(plans.text(prepared.plan), nl=False)


def _request(
    place: Place,
    backend: str,
    model: str,
    workload: str | None,
    users: str | None,
    duration_s: float | None,
    profile: Profile,
    release: str,
    runtime: RuntimeChoice,
    accelerator: AcceleratorChoice,
    gpus: str,
    prefix_caching: PrefixCaching,
    extra_args: list[str] | None,
    serving: str,
) -> Request:
    """The options as a Request; commas part names and numbers."""
    return Request(
        backends=names(backend),
        model=model,
        release=release,
        profile=profile,
        workload=workload,
        users=numbers(users),
        duration_s=positive(duration_s),
        accelerator=accelerator,
        gpus=gpus,
        prefix_caching=prefix_caching,
        extra_args=tuple(extra_args or ()),
        serving=words(serving),
        runtime=runtime,
        base=place.base,
        port=place.port,
    )


def show(folder: RunFolder, *, as_json: bool) -> None:
    """A run's outcome on stdout."""
    cells: tuple[Stored, ...] = folder.record().cells
    if as_json:
        print_json([c.result.model_dump(mode="json") for c in cells if c.result is not None])
        return
    if sys.stdout.isatty():
        console = RichConsole()
        for table in tables.tables(cells):
            console.print(table)
    else:
        typer.echo(tables.plain(cells))
    typer.echo(f"page: {folder.path / PAGE}\nreport: {folder.path / REPORT}")
