"""Commands of a night: a whole matrix, going on with a run, one group of a stored plan."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Optional

import typer

from backends import load_backends
from orchestrator import nights
from orchestrator.catalog import matrices
from orchestrator.cli.app import app
from orchestrator.cli.fleet import (
    FleetChoice,
    FleetName,
    GpuMemory,
    Gres,
    HostCommand,
    Login,
    Partition,
    Pins,
    Push,
    PushTo,
    Results,
    SbatchArgs,
    TokenFile,
    cluster,
    hosts,
    require_slurm,
)
from orchestrator.cli.measuring import show
from orchestrator.cli.options import AsJson, FormatChoice, names, print_json
from orchestrator.console import Console
from orchestrator.domain.plan import Plan
from orchestrator.errors import CellError, RequestError
from orchestrator.fleet import handing, worker
from orchestrator.fleet import nights as fleets
from orchestrator.fleet.carrying import Pushed
from orchestrator.fleet.handing import Format
from orchestrator.matrix import Wish
from orchestrator.report import nights as night
from orchestrator.store.runs import LATEST, today

RunName = Annotated[str, typer.Argument(help="A run's name; `latest` is the one begun last.")]


@app.command()
def matrix(
    context: typer.Context,
    file: Annotated[
        str,
        typer.Argument(help="A TOML file, or the name of one that comes with levelbench: article, small."),
    ],
    subset: Annotated[
        str,
        typer.Option("--subset", help="Named parts of the matrix, with commas: \\[subset.NAME] in the file."),
    ] = "",
    only: Annotated[
        Optional[list[str]],  # noqa: UP045 - typer reads it at run time, also on Python 3.10
        typer.Option(
            "--only", help="Of these, only backend=NAME,NAME or users=10. Repeatable: all must hold."
        ),
    ] = None,
    seed: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option("--seed", min=0, help="Seed of the order; by default the file's, else drawn and noted."),
    ] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Print cells, order, minutes and disk, and touch nothing.")
    ] = False,
    new: Annotated[
        bool, typer.Option("--new", help="Begin anew, though a night of this matrix was cut short.")
    ] = False,
    fleet: FleetChoice = None,
    partition: Partition = None,
    gres: Gres = None,
    login: Login = None,
    results: Results = None,
    push: Push = None,
    sbatch_arg: SbatchArgs = None,
    pin: Pins = None,
    host_command: HostCommand = "levelbench",
    token_file: TokenFile = None,
    gpu_memory: GpuMemory = None,
    format_: FormatChoice = None,
    as_json: AsJson = False,
) -> None:
    """Measure a whole matrix, unattended: every cell that can be served, in random order, one deployment at a time.

    What ends is written at once. A cell that fails is recorded and the night goes on. After a crash, a reboot or
    Ctrl-C the same command goes on where it was: cells that are proven to rest on the same things are not measured
    again. docs/nightly.md explains the file and these rules.
    """
    backends = load_backends()
    found = matrices.read(file, backends)
    chosen = names(subset) if subset else ()
    seeds = (s for s in (seed, found.matrix.seed) if s is not None)
    wish = Wish(
        file=found,
        seed=next(seeds, nights.new_seed()),
        subsets=chosen,
        parts=matrices.subsets(found.matrix, chosen),
        only=matrices.only(only or (), backends),
        base=context.obj.base,
        port=context.obj.port,
    )
    of_slurm = {
        "--partition": partition,
        "--gres": gres,
        "--login": login,
        "--results": results,
        "--push": push,
        "--sbatch-arg": sbatch_arg,
        "--token-file": token_file,
    }
    require_slurm(fleet, of_slurm)
    elsewhere = hosts(fleet, gres=gres, pins=pin or (), gpu_memory=gpu_memory)
    if plan or format_ is not None:
        planned = (
            fleets.prepare(wish, elsewhere)
            if elsewhere
            else nights.prepare(context.obj, wish, pull=False).plan
        )
        _print(planned, plan=plan, format_=format_, as_json=as_json)
        return
    if elsewhere is None or fleet is None:
        folder, complete = nights.run(context.obj, wish, Console(), new=new)
    elif fleet is not FleetName.SLURM:
        typer.echo(fleets.hand_out(context.obj, wish, elsewhere, Format(fleet.value)), nl=False)
        return
    else:
        where = cluster(
            elsewhere,
            partition=partition,
            gres=gres,
            login=login,
            sbatch_args=sbatch_arg or (),
            host_command=host_command,
            token_file=token_file,
            results=results,
            push=push,
        )
        folder, complete = fleets.run(context.obj, wish, where, Console(), new=new)
    show(folder, as_json=as_json)
    if not complete:
        raise typer.Exit(CellError.exit_code)


def _print(planned: Plan, *, plan: bool, format_: Format | None, as_json: bool) -> None:
    """A plan, and nothing but a plan."""
    if not plan:
        raise RequestError(
            "--format prints a plan, and --plan is not given",
            hint="--plan --format github; or --fleet github, which begins a run and hands its groups out",
        )
    if format_ is not None:
        typer.echo(handing.text(planned, format_), nl=False)
    elif as_json:
        print_json(planned.model_dump(mode="json"))
    else:
        typer.echo(night.text(planned, today()), nl=False)


@app.command()
def resume(
    context: typer.Context,
    run: RunName = LATEST,
    only_failed: Annotated[
        bool,
        typer.Option("--only-failed", help="Measure again what failed, and nothing else that has ended."),
    ] = False,
    if_cut_short: Annotated[
        bool,
        typer.Option(
            "--if-cut-short", help="Do nothing if the run has ended: for a unit that runs at every boot."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Go on with a run that was cut short, by the plan that is stored with it.

    A cell that has ended counts if image, command, weights, prompts, workload, hardware and METHOD are proven to be
    as they would be now; it says which it reuses and why it does not. A cell that failed stays failed, unless
    --only-failed asks for it again.
    """
    if if_cut_short and not nights.was_cut_short(context.obj.runs_dir, run):
        typer.echo("nothing was cut short")
        return
    folder, complete = nights.resume(context.obj, run, Console(), only_failed=only_failed)
    show(folder, as_json=as_json)
    if not complete:
        raise typer.Exit(CellError.exit_code)


@app.command("run-group")
def run_group(
    context: typer.Context,
    run: Annotated[Path, typer.Argument(help="A run's folder, with its plan in run.json.")],
    group: Annotated[str, typer.Argument(help="The group's id, as `matrix --plan` prints it.")],
    push: PushTo = None,
) -> None:
    """Run one group of a stored plan into its run's folder: the unit that a scheduler hands to a host.

    The whole host is taken while it runs. With LEVELBENCH_ATTEMPT set, as a batch job sets it, the group is run in a
    folder of that attempt, and published if no other attempt was first (docs/fleet.md). Exit code 0 means that every
    cell of the group has figures.
    """
    mine = worker.attempt(os.environ, group)
    run = run.expanduser().absolute()
    if mine is not None:
        to = Pushed.of(push) if push else None
        folder, complete = worker.work(context.obj, run, mine, Console(), to)
    elif push:
        raise RequestError("--push sends an attempt, and this is none", hint="set LEVELBENCH_ATTEMPT")
    else:
        folder, complete = nights.run_group(context.obj, run, group, Console())
    typer.echo(push or folder.path)
    if not complete:
        raise typer.Exit(CellError.exit_code)
