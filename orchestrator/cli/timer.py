"""`levelbench install-timer`: its options."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from orchestrator import timer
from orchestrator.cli.app import app
from orchestrator.console import Console
from orchestrator.errors import RequestError
from orchestrator.invocation import Place


@app.command(name="install-timer")
def install_timer(
    context: typer.Context,
    matrix: Annotated[Path, typer.Argument(help="The matrix that every night runs.")] = Path("matrix.toml"),
    at: Annotated[str, typer.Option("--at", help="When, on this host's clock: HH:MM.")] = "02:00",
    for_user: Annotated[
        bool, typer.Option("--user", help="Units of this user's own systemd, instead of the host's.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Write the units and enable them.")] = False,
) -> None:
    """Print systemd units that run the matrix every night, and go on with it after a reboot; with --yes install them.

    HF_TOKEN and LEVELBENCH_WEBHOOK may stand in /etc/levelbench.env, with --user in ~/.config/levelbench.env.
    """
    if not matrix.is_file():
        raise RequestError(f"there is no {matrix}", hint="name the matrix file that the nights shall run")
    place: Place = context.obj
    own = Path("~/.config").expanduser()
    night = timer.Night(
        argv=_argv(place, "matrix", str(matrix.resolve())),
        resume_argv=_argv(place, "resume"),
        folder=Path.cwd(),
        at=at,
        secrets=own / "levelbench.env" if for_user else timer.SYSTEM_SECRETS,
        user=None if for_user else Path.cwd().owner(),  # whose runs and cache they are, also under sudo
    )
    folder = own / "systemd/user" if for_user else timer.SYSTEM_DIR
    if yes:
        timer.install(night, folder, Console().say)
        typer.echo(f"every night at {at}; see: journalctl {'--user ' if for_user else ''}-u {timer.SERVICE}")
    else:
        typer.echo(timer.preview(night, folder), nl=False)


def _argv(place: Place, *words: str) -> tuple[str, ...]:
    """This very program, and this very place."""
    program = str(Path(sys.executable).with_name("levelbench"))
    limit = [] if place.cache_limit_bytes is None else ["--cache-limit", f"{place.cache_limit_bytes}"]
    base = [] if place.base is None else ["--base-image", place.base]
    settings = ("--runs", str(place.runs_dir), "--cache", str(place.cache_dir), *limit, *base)
    return (program, *settings, *words)
