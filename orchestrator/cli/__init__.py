"""The `levelbench` command. The only place that reads the environment, and the one that ends with an exit code."""

from __future__ import annotations

import math
import os
import re
import sys
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from backends import DEFAULT, load_backends
from backends.contract import PrefixCaching, Profile, Value
from orchestrator import invocation, planning
from orchestrator.catalog import loader
from orchestrator.cli.load import load
from orchestrator.cli.output import print_json, show
from orchestrator.cli.words import numbers
from orchestrator.console import Console
from orchestrator.domain.cell import RuntimeChoice
from orchestrator.errors import BenchError, CellError, HostError, RequestError
from orchestrator.host.findings import Level, lines
from orchestrator.invocation import Place
from orchestrator.planning import AcceleratorChoice, Request
from orchestrator.report import backends as comparison
from orchestrator.report import plans
from orchestrator.runtime.daemon import Daemon
from orchestrator.store.runs import LATEST, RunFolder
from quantize.methods import METHODS

SECRETS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")

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
ModelName = Annotated[
    str,
    typer.Option(
        "--model", help="tiny, small, tiny-awq, 8b, 70b-awq, 70b-4bit (each engine's own 4 bits), ..."
    ),
]
WorkloadName = Annotated[
    Optional[str],  # noqa: UP045 - typer reads it at run time, also on Python 3.10
    typer.Option(
        "--workload",
        help="short, article, or a TOML file (docs/prompts.md); by default short on a CPU, else article.",
    ),
]
UserCounts = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--users", help="Loads to measure, with commas: 10,50,100."),
]
Duration = Annotated[
    Optional[float],  # noqa: UP045
    typer.Option("--duration", help="Seconds of each load."),
]
ProfileName = Annotated[
    Profile, typer.Option("--profile", help="Engine settings: its own defaults, or matched across engines.")
]
ReleaseName = Annotated[str, typer.Option("--release", help="Which pinned release of the engine.")]
RuntimeName = Annotated[
    RuntimeChoice,
    typer.Option("--runtime", help="auto: docker where it can serve, else a process in its own venv."),
]
AcceleratorName = Annotated[
    AcceleratorChoice, typer.Option("--accelerator", help="auto: the GPU where there is one.")
]
PrefixCache = Annotated[
    PrefixCaching,
    typer.Option("--prefix-cache", help="Reuse of common prompt beginnings: as the profile says, on or off."),
]
ExtraArgs = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option(
        "--extra-arg",
        help="Options for the engine itself, checked against its release's list: "
        "--extra-arg='--max-num-seqs 64'; with several backends 'NAME: --max-num-seqs 64'. Repeatable.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the outcome as JSON on stdout.")]
RunsDir = Annotated[Path, typer.Option("--runs", envvar="LEVELBENCH_RUNS", help="Folder of the run folders.")]
CacheDir = Annotated[
    Path, typer.Option("--cache", envvar="LEVELBENCH_CACHE", help="Folder of weights, venvs and wheels.")
]
BaseImage = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        "--base-image",
        envvar="LEVELBENCH_BASE_IMAGE",
        help="Base of every image built, for a host without a registry.",
    ),
]
DockerContext = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--docker-context", envvar="DOCKER_CONTEXT", help="Docker context to use."),
]
DockerHost = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--docker-host", envvar="DOCKER_HOST", help="Docker daemon to use."),
]
CacheLimit = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        "--cache-limit",
        envvar="LEVELBENCH_CACHE_LIMIT",
        help="What weights and steps' outputs may take of the cache folder: 300G; what was used least recently goes.",
    ),
]
Port = Annotated[
    int,
    typer.Option(
        "--port",
        envvar="LEVELBENCH_PORT",
        min=0,
        max=65535,
        help="Port of an engine in a process; 0: a free one.",
    ),
]


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
) -> None:
    """Settings of this host; each may also come from the environment."""
    context.obj = Place(
        runs_dir=runs.expanduser().absolute(),
        cache_dir=cache.expanduser().absolute(),
        daemon=Daemon(docker_host, docker_context, Path(os.environ.get("DOCKER_CONFIG", "~/.docker"))),
        environment={name: value for name, value in os.environ.items() if name not in SECRETS},
        base=base_image,
        port=port,
        token=next((value for name in SECRETS if (value := os.environ.get(name))), None),
        cache_limit_bytes=_bytes(cache_limit),
    )


@app.command()
def bench(
    context: typer.Context,
    backend: BackendNames = DEFAULT,
    model: ModelName = planning.DEFAULT_MODEL,
    workload: WorkloadName = None,
    users: UserCounts = None,
    duration: Duration = None,
    profile: ProfileName = Profile.DEFAULTS,
    release: ReleaseName = "current",
    runtime: RuntimeName = RuntimeChoice.AUTO,
    accelerator: AcceleratorName = AcceleratorChoice.AUTO,
    prefix_cache: PrefixCache = PrefixCaching.PROFILE,
    extra_arg: ExtraArgs = None,
    as_json: AsJson = False,
) -> None:
    """Measure engines: install, start, load, judge, take down, report.

    Without options: a real engine on the CPU with a small model made here, in under two minutes.
    """
    place: Place = context.obj
    asked = (backend, model, workload, users, duration, profile, release, runtime, accelerator)
    options = (*asked, prefix_cache, extra_arg)
    folder, complete = invocation.execute(place, _request(place, *options), Console())
    show(folder, as_json=as_json)
    if not complete:
        raise typer.Exit(CellError.exit_code)


@app.command()
def plan(
    context: typer.Context,
    backend: BackendNames = DEFAULT,
    model: ModelName = planning.DEFAULT_MODEL,
    workload: WorkloadName = None,
    users: UserCounts = None,
    duration: Duration = None,
    profile: ProfileName = Profile.DEFAULTS,
    release: ReleaseName = "current",
    runtime: RuntimeName = RuntimeChoice.AUTO,
    accelerator: AcceleratorName = AcceleratorChoice.AUTO,
    prefix_cache: PrefixCache = PrefixCaching.PROFILE,
    extra_arg: ExtraArgs = None,
    as_json: AsJson = False,
) -> None:
    """Print what `bench` would do with the same options, and touch nothing."""
    place: Place = context.obj
    asked = (backend, model, workload, users, duration, profile, release, runtime, accelerator)
    options = (*asked, prefix_cache, extra_arg)
    prepared = invocation.prepare(place, _request(place, *options), pull=False)
    if as_json:
        print_json(prepared.plan.model_dump(mode="json"))
    else:
        typer.echo(plans.text(prepared.plan), nl=False)


@app.command()
def report(
    context: typer.Context,
    run: Annotated[str, typer.Argument(help="A run's name; `latest` is the one begun last.")] = LATEST,
    as_json: AsJson = False,
) -> None:
    """Write a run's reports anew from what is stored, and print its tables."""
    folder = RunFolder.find(context.obj.runs_dir, run)
    folder.write_reports()
    show(folder, as_json=as_json)


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
        typer.echo(f"measure it: make bench MODEL={wanted.id}")


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
    keep_bytes = _bytes(keep)
    gone = (
        invocation.clean(context.obj, dry_run=dry_run)
        if keep_bytes is None
        else invocation.trim(context.obj, keep_bytes, dry_run=dry_run)
    )
    for line in gone:
        typer.echo(line)


app.command()(load)


def main() -> None:
    """The console script: every error ends here, with its hint and its exit code."""
    try:
        app()
    except BenchError as error:
        Console().error(error)
        sys.exit(error.exit_code)


def _request(
    place: Place,
    backend: str,
    model: str,
    workload: str | None,
    users: str | None,
    duration_s: float | None,
    profile: Profile,
    release: str,
    runtime: RuntimeChoice,
    accelerator: AcceleratorChoice,
    prefix_caching: PrefixCaching,
    extra_args: list[str] | None,
) -> Request:
    """The options as a Request; commas part names and numbers."""
    return Request(
        backends=_names(backend),
        model=model,
        release=release,
        profile=profile,
        workload=workload,
        users=numbers(users),
        duration_s=_positive(duration_s),
        accelerator=accelerator,
        prefix_caching=prefix_caching,
        extra_args=tuple(extra_args or ()),
        runtime=runtime,
        base=place.base,
        port=place.port,
    )


def _names(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names:
        raise RequestError("no backend was named", hint=f"for example BACKEND={DEFAULT}")
    return names


def _bytes(text: str | None) -> int | None:
    """`300G`, `1.5TB`, `512MiB` or plain bytes; None where nothing was said."""
    if not text:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([KMGT]?)(i?)B?", text.strip(), re.IGNORECASE)
    if found is None:
        raise RequestError(f"{text!r} is no size", hint="for example 300G, 1.5T or 512MiB")
    power = " KMGT".index(found[2].upper() or " ")
    return int(float(found[1]) * (1024 if found[3] else 1000) ** power)


def _positive(seconds: float | None) -> float | None:
    if seconds is not None and not 0 < seconds < math.inf:
        raise RequestError(f"a duration of {seconds:g} s cannot be measured", hint="for example DURATION=300")
    return seconds


def _dumped(values: Iterable[Value]) -> list[Any]:
    return [value.model_dump(mode="json") for value in values]
