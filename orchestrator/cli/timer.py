"""`levelbench install-timer`: its options."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from backends import load_backends
from orchestrator import timer
from orchestrator.catalog import matrices
from orchestrator.cli.app import app
from orchestrator.console import Console
from orchestrator.invocation import Place


@app.command(name="install-timer")
def install_timer(
    context: typer.Context,
    matrix: Annotated[
        str, typer.Argument(help="The matrix that every night runs: a TOML file, or article, small.")
    ],
    at: Annotated[str, typer.Option("--at", help="When, on this host's clock: HH:MM.")] = "02:00",
    for_user: Annotated[
        bool, typer.Option("--user", help="Units of this user's own systemd, instead of the host's.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Write the units and enable them.")] = False,
) -> None:
    """Print systemd units that run the matrix every night, and go on with it after a reboot; with --yes install them.

    HF_TOKEN and LEVELBENCH_WEBHOOK may stand in /etc/levelbench.env, with --user in ~/.config/levelbench.env.
    """
    place: Place = context.obj
    found = matrices.read(matrix, load_backends())  # its mistakes are told now, not at night
    own = Path("~/.config").expanduser()
    night = timer.Night(
        # a night waits for the one that a reboot had cut short, which is gone on with at the same time
        argv=_argv(place, "--wait", "matrix", str(found.path.resolve())),
        resume_argv=_argv(place, "resume", "--if-cut-short"),
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
    folders = ("--runs", str(place.runs_dir), "--cache", str(place.cache_dir))
    settings = (*folders, "--lock", str(place.lock_path), *limit, *base)
    return (program, *settings, *words)
