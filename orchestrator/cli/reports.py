"""Commands that make pages and files out of stored runs; they need no Docker, no GPU and no engine."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, Optional

import typer

from backends import load_backends
from orchestrator import reproduce as reproducing
from orchestrator import retrospect
from orchestrator.cli.app import app
from orchestrator.cli.measuring import show
from orchestrator.cli.options import AsJson
from orchestrator.console import Console
from orchestrator.errors import RequestError
from orchestrator.report import cost, exports, qualitative, rulings
from orchestrator.report.cost import Price
from orchestrator.report.html.changes import past
from orchestrator.report.html.page import charts_of
from orchestrator.report.html.pictures import Picture, pictures
from orchestrator.report.html.values import Table
from orchestrator.store import files, sites
from orchestrator.store.runs import LATEST, RunFolder

OptionalPath = Optional[Path]  # noqa: UP045 - typer reads it at run time, also on Python 3.10


class Format(str, Enum):
    """What else a run can be written as, beside report.html, report.md and results.csv."""

    BMF = "bmf"
    PROMETHEUS = "prometheus"
    SVG = "svg"
    PNG = "png"


TEXTS = {
    Format.BMF: (exports.bmf, "results.bmf.json"),
    Format.PROMETHEUS: (exports.prometheus, "results.prom"),
}


@app.command()
def report(
    context: typer.Context,
    run: Annotated[str, typer.Argument(help="A run's name; `latest` is the one begun last.")] = LATEST,
    gpu_price: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            "--gpu-price", help="What a GPU costs per hour, for the cost per token: 1.89 or '1.89 EUR'."
        ),
    ] = None,
    form: Annotated[
        Optional[Format],  # noqa: UP045
        typer.Option(
            "--format", help="Write this instead: for Bencher, for a textfile collector, or the charts."
        ),
    ] = None,
    out: Annotated[
        OptionalPath, typer.Option("--out", help="Where --format writes: a file, for charts a folder.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write a run's reports anew from what is stored, and print its tables."""
    folder = RunFolder.find(context.obj.runs_dir, run)
    price = _price(gpu_price)
    if form is not None:
        typer.echo(_export(folder, form, out, price))
        return
    if out is not None:
        raise RequestError("--out is for --format alone", hint="the reports lie in the run's own folder")
    folder.write_reports(price)
    show(folder, as_json=as_json)


@app.command()
def site(
    context: typer.Context,
    out: Annotated[Path, typer.Option("--out", help="Folder of the pages.")] = Path("site"),
) -> None:
    """Make static pages over all runs: the latest matrix, what got worse or better, every series over time, what
    they say of the published claims, the engines side by side, each run's report."""
    runs_dir, console = context.obj.runs_dir, Console()
    index = sites.write(
        runs_dir,
        out,
        past(retrospect.look_back(runs_dir, console.step).judged),
        claims=Table(rulings.CLAIMS, rulings.claim_rows(reproducing.claims(runs_dir)), texts=4),
        engines=Table(qualitative.HEADINGS, qualitative.rows(load_backends().values()), texts=7),
        say=console.say,
    )
    typer.echo(f"pages: {index}")


def _price(text: str | None) -> Price | None:
    found = None if text is None else cost.price(text)
    if text is not None and found is None:
        raise RequestError(
            f"{text!r} is no price", hint="for example --gpu-price 1.89 or --gpu-price '1.89 EUR'"
        )
    return found


def _export(folder: RunFolder, form: Format, out: Path | None, price: Price | None) -> Path:
    """What was written: a file, or a folder of charts."""
    record = folder.record()
    if form in TEXTS:
        write, name = TEXTS[form]
        target = out or folder.path / name
        files.write_atomically(target, write(record).encode())
        return target
    target = out or folder.path / "charts"
    with files.translated(target):
        target.mkdir(parents=True, exist_ok=True)
    for name, data in pictures(charts_of(folder.page(record, price).works), Picture(form.value)):
        files.write_atomically(target / name, data)
    return target
