"""The `levelbench` command. The only place that reads the environment, and the one that ends with an exit code."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from backends.contract import Profile
from orchestrator.invocation import Place
from orchestrator.planning import AcceleratorChoice, RuntimeChoice

app = typer.Typer(
    help="Every LLM engine on a level bench: same host, same load, same rules, proof attached.",
    epilog="Start with `levelbench doctor`, then `levelbench bench`. Exit codes: 0 done, 2 bad request, "
    "3 this host cannot, 4 a cell failed, 130 interrupted.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

BackendNames = Annotated[
    str, typer.Option("--backend", help="One or several, with commas: they run one after the other.")
]
ModelName = Annotated[str, typer.Option("--model", help="tiny, small, tiny-awq, 8b, 70b-awq.")]
WorkloadName = Annotated[
    str | None, typer.Option("--workload", help="short or article. [default: short on a CPU, else article]")
]
UserCounts = Annotated[str | None, typer.Option("--users", help="Loads to measure, with commas: 10,50,100.")]
Duration = Annotated[float | None, typer.Option("--duration", help="Seconds of each load.")]
ProfileName = Annotated[
    Profile, typer.Option("--profile", help="Engine settings: its defaults, or matched across engines.")
]
ReleaseName = Annotated[str, typer.Option("--release", help="current; later also 2024-06.")]
RuntimeName = Annotated[
    RuntimeChoice,
    typer.Option("--runtime", help="auto: docker where it can serve, else a process in its own venv."),
]
AcceleratorName = Annotated[
    AcceleratorChoice, typer.Option("--accelerator", help="auto: the GPU where there is one.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the outcome as JSON on stdout.")]

_F = TypeVar("_F", bound=Callable[..., None])


@app.callback()
def settings(
    context: typer.Context,
    runs: Annotated[Path, typer.Option(envvar="LEVELBENCH_RUNS", help="Folder of the run folders.")] = Path(
        "runs"
    ),
    cache: Annotated[
        Path, typer.Option(envvar="LEVELBENCH_CACHE", help="Folder of weights, venvs and wheels.")
    ] = Path("~/.cache/levelbench"),
    base_image: Annotated[
        str | None,
        typer.Option(
            envvar="LEVELBENCH_BASE_IMAGE",
            help="Base image in place of each Dockerfile's own, for a host without a registry.",
        ),
    ] = None,
    docker_context: Annotated[
        str | None, typer.Option("--context", envvar="DOCKER_CONTEXT", help="Docker context to use.")
    ] = None,
    docker_host: Annotated[
        str | None, typer.Option("--host", envvar="DOCKER_HOST", help="Docker daemon to use.")
    ] = None,
    port: Annotated[
        int, typer.Option(envvar="LEVELBENCH_PORT", min=0, max=65535, help="Engine's port; 0: a free one.")
    ] = 0,
) -> None:
    """Settings of this host; each may also come from the environment."""
    context.obj = Place(
        runs_dir=runs.expanduser(),
        cache_dir=cache.expanduser(),
        base=base_image,
        docker_context=docker_context,
        docker_host=docker_host,
        docker_config=Path(os.environ.get("DOCKER_CONFIG", "~/.docker")).expanduser(),
        port=port,
        token=os.environ.get("HF_TOKEN") or os.environ.get("HUGGING_FACE_HUB_TOKEN"),
    )
