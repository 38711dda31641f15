"""Options of a night on several hosts, and what becomes of them."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import PurePosixPath
from typing import Annotated, Optional

import typer

from backends.contract import Accelerator
from orchestrator import invocation
from orchestrator.cli.app import app
from orchestrator.cli.measuring import show
from orchestrator.cli.options import AsJson, size_bytes
from orchestrator.console import Console
from orchestrator.errors import CellError, RequestError
from orchestrator.fleet import nights, remote
from orchestrator.fleet.nights import Cluster, Hosts
from orchestrator.fleet.slurm import Slurm, SlurmSettings
from orchestrator.runtime import ssh
from orchestrator.store.runs import LATEST


class FleetName(str, Enum):
    """Who runs the groups instead of this host: Slurm is driven, the others are told."""

    SLURM = "slurm"
    GITHUB = "github"
    JSONL = "jsonl"


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


@app.command()
def collect(
    context: typer.Context,
    run: Annotated[str, typer.Argument(help="The run whose groups were handed out.")] = LATEST,
    as_json: AsJson = False,
) -> None:
    """Make one run of what the jobs of another scheduler published: cells, reports, and what is still missing.

    For `levelbench matrix FILE --fleet github` or `jsonl`, once their jobs have ended. May be run at any time, and again.
    """
    folder, complete = nights.gather(context.obj, run, Console())
    show(folder, as_json=as_json)
    if not complete:
        raise typer.Exit(CellError.exit_code)


PANEL = "Several hosts (docs/fleet.md)"

FleetChoice = Annotated[
    Optional[FleetName],  # noqa: UP045 - typer reads it at run time, also on Python 3.10
    typer.Option(
        "--fleet",
        help="Hand each group to a host of its own: by Slurm, or as a list for GitHub Actions or any other.",
        rich_help_panel=PANEL,
    ),
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
Results = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        "--results",
        help="Folder on the login node that hosts see too, where --runs is seen by this machine alone.",
        rich_help_panel=PANEL,
    ),
]
Push = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        "--push",
        help="Hosts share no folder: they send results to this host, as their ssh knows it.",
        rich_help_panel=PANEL,
    ),
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


PushTo = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--push", help="HOST:/FOLDER: send the attempt there over ssh, and publish it there."),
]


def hosts(
    choice: FleetName | None, *, gres: str | None, pins: Sequence[str], gpu_memory: str | None
) -> Hosts | None:
    """What was said of hosts that are not this one; None without --fleet, where it would have no effect."""
    _require_fleet(choice, {"--pin": pins, "--gpu-memory": gpu_memory})
    if choice is None:
        return None
    on_cpu = choice is FleetName.SLURM and gres is None
    return Hosts(
        accelerator=Accelerator.CPU if on_cpu else Accelerator.CUDA,
        gpu_memory_bytes=size_bytes(gpu_memory),
        pins=nights.pins(tuple(pins)),
    )


def cluster(
    found: Hosts,
    *,
    partition: str | None,
    gres: str | None,
    login: str | None,
    sbatch_args: Sequence[str],
    host_command: str,
    token_file: str | None,
    results: str | None,
    push: str | None,
) -> Cluster:
    """The Slurm cluster that was asked for."""
    if results and (login is None or not results.startswith("/")):
        raise RequestError(
            f"--results {results} is no folder of a login node", hint="--login HOST --results /FOLDER"
        )
    settings = SlurmSettings(partition=partition, gres=gres, login=login, options=tuple(sbatch_args))
    return Cluster(
        fleet=Slurm(settings),
        hosts=found,
        command=tuple(shlex.split(host_command)),
        token_path=PurePosixPath(token_file) if token_file else None,
        login=login,
        results=PurePosixPath(results) if results else None,
        push=ssh.checked(push) if push else None,
    )


def require_slurm(choice: FleetName | None, given: Mapping[str, object]) -> None:
    """RequestError for an option of Slurm's that would have no effect."""
    lost = [name for name, value in given.items() if value]
    if lost and choice is not FleetName.SLURM:
        raise RequestError(f"{', '.join(lost)} without --fleet slurm has no effect", hint="add --fleet slurm")


def _require_fleet(choice: FleetName | None, given: Mapping[str, object]) -> None:
    lost = [name for name, value in given.items() if value]
    if lost and choice is None:
        raise RequestError(f"{', '.join(lost)} without --fleet has no effect", hint="add --fleet slurm")
