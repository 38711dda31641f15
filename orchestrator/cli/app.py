"""The command itself and the settings of this host: the only place that reads the environment."""

from __future__ import annotations

import os
from pathlib import Path

import typer

from orchestrator.cli.options import (
    BaseImage,
    CacheDir,
    CacheLimit,
    DockerContext,
    DockerHost,
    LockPath,
    Port,
    RunsDir,
    Wait,
    size_bytes,
)
from orchestrator.host.locks import host_path
from orchestrator.invocation import Place
from orchestrator.notify import WEBHOOK, Told
from orchestrator.runtime.daemon import Daemon

TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
# From the environment only: what stands on a command line can be read by everybody on the host
SECRETS = (*TOKENS, WEBHOOK)
STEP_SUMMARY = "GITHUB_STEP_SUMMARY"

app = typer.Typer(
    help="Every LLM engine on a level bench: same host, same load, same rules, proof attached.",
    epilog="Start with `levelbench doctor`, then `levelbench bench`. Exit codes: 0 done, 2 bad request, "
    "3 this host cannot, 4 a cell failed or its figures are invalid, 5 not reproduced, 130 interrupted (after teardown).",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


@app.callback()
def settings(
    context: typer.Context,
    runs: RunsDir = Path("runs"),
    cache: CacheDir = Path("~/.cache/levelbench"),
    base_image: BaseImage = None,
    docker_context: DockerContext = None,
    docker_host: DockerHost = None,
    port: Port = 0,
    cache_limit: CacheLimit = None,
    lock: LockPath = None,
    wait: Wait = False,
) -> None:
    """Settings of this host; each may also come from the environment."""
    context.obj = Place(
        runs_dir=runs.expanduser().absolute(),
        cache_dir=cache.expanduser().absolute(),
        daemon=Daemon(docker_host, docker_context, Path(os.environ.get("DOCKER_CONFIG", "~/.docker"))),
        environment={name: value for name, value in os.environ.items() if name not in SECRETS},
        base=base_image,
        port=port,
        token=next((value for name in TOKENS if (value := os.environ.get(name))), None),
        cache_limit_bytes=size_bytes(cache_limit),
        told=Told(
            webhook=os.environ.get(WEBHOOK) or None,
            step_summary=Path(page) if (page := os.environ.get(STEP_SUMMARY)) else None,
        ),
        lock_path=lock or host_path(),
        wait=wait,
    )
