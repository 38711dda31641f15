"""Commands around measuring: the host, the engines, the client, the cache."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import asdict
from typing import Annotated, Any, Optional

import typer
from rich.console import Console as RichConsole

from backends import load_backends
from backends.contract import Backend, Quantization, Value
from orchestrator import invocation
from orchestrator.catalog import loader
from orchestrator.cli.app import app
from orchestrator.cli.options import (
    AcceleratorName,
    AsJson,
    Duration,
    RuntimeName,
    UserCounts,
    names,
    numbers,
    positive,
    print_json,
    size_bytes,
)
from orchestrator.console import Console
from orchestrator.domain.cell import AcceleratorChoice, RuntimeChoice
from orchestrator.errors import HostError
from orchestrator.host.findings import Level, lines
from orchestrator.invocation import Place
from orchestrator.report import backends as comparison
from orchestrator.selftest.peers import PEERS
from orchestrator.selftest.run import chosen, keep, measure
from orchestrator.selftest.show import summary
from quantize.methods import METHODS

WIDE = 200  # columns of a table that goes to a file


@app.command()
def doctor(context: typer.Context, as_json: AsJson = False) -> None:
    """Say what this host can measure, everything at once, and what to do about the rest."""
    found = invocation.findings(context.obj)
    if as_json:
        print_json([{**asdict(f), "check": f.check.value, "level": f.level.value} for f in found])
    else:
        typer.echo("\n".join(lines(found)))
    if any(f.level is Level.FAIL for f in found):
        raise typer.Exit(HostError.exit_code)


@app.command()
def backends(*, as_json: AsJson = False) -> None:
    """Print what there is: engines, releases, builds, and how they compare."""
    every = load_backends().values()
    if as_json:
        print_json([{"name": b.name, "title": b.title, "releases": _dumped(b.releases)} for b in every])
    else:
        typer.echo(comparison.page(every), nl=False)


@app.command()
def quantize(
    context: typer.Context,
    model: Annotated[str, typer.Option("--model", help="A 16-bit model: tiny, small, 8b.")] = "tiny",
    method: Annotated[
        str, typer.Option("--method", help=f"{', '.join(METHODS)}; see docs/quantize.md.")
    ] = "awq",
    runtime: RuntimeName = RuntimeChoice.AUTO,
    accelerator: AcceleratorName = AcceleratorChoice.AUTO,
    *,
    as_json: AsJson = False,
) -> None:
    """Make a portable quantised checkpoint: calibrated, read back, checked, kept in the cache.

    Afterwards `levelbench bench --model MODEL.METHOD` measures it with any engine that reads its form.
    """
    wanted = loader.quantized(loader.model(model), method)
    made = invocation.quantize(context.obj, wanted, runtime, accelerator, Console())
    if as_json:
        record = made.record("quantize").model_dump(mode="json")
        print_json({"model": wanted.id, "folder": str(made.folder), "digest": made.digest, **record})
    else:
        typer.echo(f"{wanted.id}: {made.folder}")
        readers = [name for name, backend in load_backends().items() if _reads(backend, wanted.quantization)]
        typer.echo(f"measure it: make bench MODEL={wanted.id} BACKEND= one of {', '.join(readers)}")


@app.command()
def selftest(
    context: typer.Context,
    users: UserCounts = None,
    duration: Duration = None,
    full: Annotated[
        bool, typer.Option("--full", help="Seven loads of a minute each, up to 2000 users.")
    ] = False,
    save: Annotated[bool, typer.Option("--save", help="Keep it for the provenance of later runs.")] = False,
    peers: Annotated[
        str,
        typer.Option(
            "--peers",
            help=f"Other clients to compare with, with commas: {', '.join(PEERS)}; or aiperf=/path/to/aiperf.",
        ),
    ] = "",
    shards: Annotated[int, typer.Option("--shards", min=1, help="Processes of the load client.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Measure the load client itself: its error, its ceiling and its CPU against a reference server."""
    place: Place = context.obj
    others = names(peers) if peers else ()
    stages = chosen(numbers(users), positive(duration), full=full)
    typer.echo(f"about {sum(s.seconds for s in stages):.0f} s; keep this host quiet", err=True)
    with place.alone("selftest", lambda text: typer.echo(text, err=True)):
        found = measure(stages, others, shards=shards, environment=place.environment)
    if save:
        typer.echo(f"kept in {keep(place.cache_dir, found)}", err=True)
    if as_json:
        print_json(found.model_dump(mode="json"))
        return
    console = RichConsole(width=None if sys.stdout.isatty() else WIDE)
    for part in summary(found):
        console.print(part)


@app.command()
def clean(
    context: typer.Context,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    keep: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--keep", help="Keep that much of weights and steps' outputs, used last: 100G."),
    ] = None,
) -> None:
    """Remove what dead runs left, our images, and the cache. Runs stay.

    With --keep only the least recently used weights and steps' outputs go.
    """
    keep_bytes = size_bytes(keep)
    gone = (
        invocation.clean(context.obj, dry_run=dry_run)
        if keep_bytes is None
        else invocation.trim(context.obj, keep_bytes, dry_run=dry_run)
    )
    for line in gone:
        typer.echo(line)


def _reads(backend: Backend, quantization: Quantization) -> bool:
    return any(quantization in dict(b.serves) for release in backend.releases for b in release.builds)


def _dumped(values: Iterable[Value]) -> list[Any]:
    return [value.model_dump(mode="json") for value in values]
