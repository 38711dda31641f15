"""Commands that judge: a published or an earlier result, claims, runs against each other; and runs handed on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from backends.contract import Profile, Value
from orchestrator import reproduce as reproducing
from orchestrator.catalog import publications
from orchestrator.cli.app import app
from orchestrator.cli.options import AsJson, print_json
from orchestrator.console import Console
from orchestrator.domain.ruling import Ruling
from orchestrator.errors import NotReproduced, RequestError
from orchestrator.host.identity import private
from orchestrator.invocation import ROOT, Place
from orchestrator.report import contrasts, plans, rulings
from orchestrator.store import archive, stored_runs
from orchestrator.store.archive import SUFFIX
from orchestrator.store.runs import RunFolder
from orchestrator.store.stored_runs import Source

OptionalText = Optional[str]  # noqa: UP045 - typer reads it at run time, also on Python 3.10


@app.command()
def reproduce(
    context: typer.Context,
    result: Annotated[
        str,
        typer.Argument(
            help="article/8b/BACKEND/u100, a run of yours (runs/RUN or runs/RUN/CELL), or a file of an export."
        ),
    ],
    plan: Annotated[bool, typer.Option("--plan", help="Only say what would be run and verified.")] = False,
    also: Annotated[
        Optional[Profile],  # noqa: UP045
        typer.Option("--also", help="Of a published result: run its cell under this profile too: matched."),
    ] = None,
    judged: Annotated[
        OptionalText,
        typer.Option("--from", help="Judge by this run, or by several with commas, instead of running."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run one result again with its pins, and say whether it came out the same, and why.

    Exit code 0 if it is reproduced, 5 if it is not, is undecided or cannot be compared.
    """
    place: Place = context.obj
    if publications.is_published(result):
        _published(place, reproducing.published(result, also), judged, is_plan=plan, as_json=as_json)
        return
    if also is not None:
        raise RequestError("--also is of published results", hint="a run of yours is run by its own plan")
    _own(place, _source(place, result), judged, is_plan=plan, as_json=as_json)


@app.command()
def claims(
    context: typer.Context,
    names: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Argument(help="Numbers of claims; all by default."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """What the published benchmark says, claim by claim, and what the newest runs here say of it."""
    found = reproducing.claims(context.obj.runs_dir, names or ())
    if as_json:
        print_json([_dumped(one) for one in found])
    else:
        typer.echo(rulings.claims(found), nl=False)


@app.command()
def compare(
    context: typer.Context,
    runs: Annotated[
        list[str],
        typer.Argument(
            help="Runs, or cells of runs; the others are held against the first. A,B: repetitions."
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """Hold runs against each other, cell by cell: effects with intervals, corrected for how many there are."""
    if len(runs) < 2:  # noqa: PLR2004
        raise RequestError(
            "one run alone cannot be compared", hint="for example levelbench compare RUN latest"
        )
    found = reproducing.compare_runs(context.obj.runs_dir, runs)
    if as_json:
        print_json([_dumped(one) for one in found])
    else:
        typer.echo(contrasts.text(found), nl=False)


@app.command()
def export(
    context: typer.Context,
    run: Annotated[str, typer.Argument(help="A run's name or folder.")],
    out: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--out", "-o", help=f"The file; RUN{SUFFIX} here by default."),
    ] = None,
) -> None:
    """Put a run into one checksummed file to hand on, without host names, user names, paths or secrets."""
    place: Place = context.obj
    folder = stored_runs.find(place.runs_dir, run).folder
    path = out or Path(f"{folder.id}{SUFFIX}")
    folders = {
        place.runs_dir: "{runs}",
        place.cache_dir: "{cache}",
        ROOT: "{checkout}",
        folder.path.parent: "{runs}",
    }
    made = archive.export(folder, path, private(folders, place.environment, place.token))
    for line in made.told:
        Console().say(line)
    typer.echo(f"{path}  sha256:{made.sha256}")


@app.command(name="import")
def import_(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="A file that `levelbench export` made.")],
) -> None:
    """Verify an exported run and put it beside the others."""
    place: Place = context.obj
    brought = archive.bring(file, place.runs_dir)
    typer.echo(f"{brought.folder.path}  sha256:{brought.sha256}")


def _published(
    place: Place, wanted: reproducing.Published, judged: str | None, *, is_plan: bool, as_json: bool
) -> None:
    if is_plan:
        prepared = reproducing.prepare(place, wanted, pull=False)
        prepared.runtime.close()
        held_against = rulings.asked(wanted.figures, wanted.confounders)
        _show(prepared.plan, f"{held_against}\n{plans.text(prepared.plan)}", as_json=as_json)
        return
    if judged is None:
        ruling = reproducing.run_published(place, wanted, Console())
    else:
        ruling = reproducing.judge_published(place, wanted, stored_runs.find(place.runs_dir, judged).folder)
    _show(ruling, rulings.published(ruling), as_json=as_json)
    _require_reproduced(ruling.ruling)


def _own(place: Place, source: Source, judged: str | None, *, is_plan: bool, as_json: bool) -> None:
    if is_plan:
        found = reproducing.pins_of(source)
        prepared = reproducing.own_plan(place, source, Console(), pull=False)
        prepared.runtime.close()
        text = "\n".join((*(f"pin  {pin.text}" for pin in found), plans.text(prepared.plan)))
        _show(prepared.plan, text, as_json=as_json)
        return
    if judged is None:
        ruling = reproducing.run_own(place, source, Console())
    else:
        later = [stored_runs.find(place.runs_dir, name) for name in judged.split(",")]
        ruling = reproducing.judge_own(source, later, place.runs_dir)
    _show(ruling, rulings.rerun(ruling), as_json=as_json)
    _require_reproduced(ruling.ruling)


def _source(place: Place, name: str) -> Source:
    """A run; an exported one is verified and put beside the others first."""
    if not name.endswith(SUFFIX):
        return stored_runs.find(place.runs_dir, name)
    folder: RunFolder = archive.bring(Path(name), place.runs_dir).folder
    return stored_runs.of_folder(folder)


def _show(value: Value, text: str, *, as_json: bool) -> None:
    if as_json:
        print_json(_dumped(value))
    else:
        typer.echo(text, nl=False)


def _dumped(value: Value) -> object:
    return value.model_dump(mode="json")


def _require_reproduced(ruling: Ruling) -> None:
    if ruling is not Ruling.REPRODUCED:
        raise typer.Exit(NotReproduced.exit_code)
