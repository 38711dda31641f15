"""Options of a night on several hosts, and what becomes of them."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from enum import Enum
from pathlib import PurePosixPath
from typing import Annotated, Optional

import typer

from backends.contract import Accelerator
from orchestrator import invocation
from orchestrator.cli.app import app
from orchestrator.cli.options import size_bytes
from orchestrator.console import Console
from orchestrator.errors import RequestError
from orchestrator.fleet import nights, remote
from orchestrator.fleet.nights import Cluster
from orchestrator.fleet.slurm import Slurm, SlurmSettings


class FleetName(str, Enum):
    """Who runs the groups instead of this host."""

    SLURM = "slurm"


@app.command("on", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def on(
    context: typer.Context,
    host: Annotated[str, typer.Argument(help="As ssh knows it: an alias, user@host.")],
) -> None:
    """Run any levelbench command on another host over ssh: `levelbench on gpubox bench --model small`.

    This checkout is copied there and installed, the command runs there beside engine and GPU with its output here,
    and the runs that it made are brought back. Ctrl-C, or a broken line, takes the engine down there first.
    """
    if not context.args:
        raise RequestError("no command was given", hint=f"for example: levelbench on {host} doctor")
    code = remote.run(host, invocation.ROOT, context.obj.runs_dir, context.args, Console())
    raise typer.Exit(code)


PANEL = "Several hosts (docs/fleet.md)"

FleetChoice = Annotated[
    Optional[FleetName],  # noqa: UP045 - typer reads it at run time, also on Python 3.10
    typer.Option("--fleet", help="Hand each group to this batch system, a job each.", rich_help_panel=PANEL),
]
Partition = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--partition", help="Slurm's partition; by default the site's.", rich_help_panel=PANEL),
]
Gres = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        "--gres", help="What a job needs: gpu:a100:1. Without it on the CPU.", rich_help_panel=PANEL
    ),
]
Login = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--login", help="Host for ssh where Slurm's commands are.", rich_help_panel=PANEL),
]
SbatchArgs = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option(
        "--sbatch-arg",
        help="Further option of sbatch: --sbatch-arg=--account=ml. Repeatable.",
        rich_help_panel=PANEL,
    ),
]
Pins = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option(
        "--pin", help="MODEL=HOST: all groups of a model on one host. Repeatable.", rich_help_panel=PANEL
    ),
]
HostCommand = Annotated[
    str,
    typer.Option(
        "--host-command", help="Starts levelbench on a host, settings included.", rich_help_panel=PANEL
    ),
]
TokenFile = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--token-file", help="File on the hosts with the hub's token.", rich_help_panel=PANEL),
]
GpuMemory = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        "--gpu-memory", help="Of one GPU of the hosts: 80G, for plans that divide it.", rich_help_panel=PANEL
    ),
]


def cluster(
    choice: FleetName | None,
    *,
    partition: str | None,
    gres: str | None,
    login: str | None,
    sbatch_args: Sequence[str],
    pins: Sequence[str],
    host_command: str,
    token_file: str | None,
    gpu_memory: str | None,
) -> Cluster | None:
    """The cluster that was asked for; None without --fleet, where the other options would have no effect."""
    given = {
        "--partition": partition,
        "--gres": gres,
        "--login": login,
        "--sbatch-arg": sbatch_args,
        "--pin": pins,
    }
    if choice is None:
        lost = [name for name, value in given.items() if value]
        if lost:
            raise RequestError(f"{', '.join(lost)} without --fleet has no effect", hint="add --fleet slurm")
        return None
    settings = SlurmSettings(partition=partition, gres=gres, login=login, options=tuple(sbatch_args))
    return Cluster(
        fleet=Slurm(settings),
        command=tuple(shlex.split(host_command)),
        pins=nights.pins(tuple(pins)),
        token_path=PurePosixPath(token_file) if token_file else None,
        gpu_memory_bytes=size_bytes(gpu_memory),
        accelerator=Accelerator.CUDA if gres else Accelerator.CPU,
    )
