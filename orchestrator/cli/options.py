"""The options of the `levelbench` command: what each is called, what it says of itself, how it is read."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from backends import DEFAULT
from backends.contract import PrefixCaching, Profile
from orchestrator.domain.cell import AcceleratorChoice, RuntimeChoice
from orchestrator.errors import RequestError
from orchestrator.fleet.handing import Format

BackendNames = Annotated[
    str,
    typer.Option(
        "--backend",
        help="One or several, with commas: they run one after the other. `levelbench backends` lists them.",
    ),
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
FormatChoice = Annotated[
    Optional[Format],  # noqa: UP045
    typer.Option("--format", help="Print the groups alone, as a scheduler takes them (docs/fleet.md)."),
]
UserCounts = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--users", help="Numbers of users to measure with, with commas: 10,50,100."),
]
Duration = Annotated[
    Optional[float],  # noqa: UP045
    typer.Option("--duration", help="Seconds of each load."),
]
ProfileName = Annotated[
    Profile,
    typer.Option(
        "--profile",
        help="Engine settings: its own defaults; matched across engines; published: what the article's services ran.",
    ),
]
ReleaseName = Annotated[
    str,
    typer.Option("--release", help="Which pinned release of the engine: current, or 2024-06, the article's."),
]
RuntimeName = Annotated[
    RuntimeChoice,
    typer.Option("--runtime", help="auto: docker where it can serve, else a process in its own venv."),
]
AcceleratorName = Annotated[
    AcceleratorChoice, typer.Option("--accelerator", help="auto: the GPU where there is one.")
]
Gpus = Annotated[
    str,
    typer.Option(
        "--gpus", help="How many GPUs an engine gets, or which: UUIDs, with commas (nvidia-smi -L)."
    ),
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
ServingName = Annotated[
    str,
    typer.Option(
        "--serving",
        help="What requests go to: native, the engine's own server; bentoml, the article's service before it "
        "(bentoml@2024-06 for its 1.2.16 before any release). With commas one after the other.",
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

LockPath = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option(
        "--lock",
        envvar="LEVELBENCH_LOCK",
        help="File that stands for this host: one run at a time holds it. By default the same for all users.",
    ),
]
Wait = Annotated[
    bool,
    typer.Option(
        "--wait", envvar="LEVELBENCH_WAIT", help="Wait for a run that holds this host, instead of ending."
    ),
]


def names(text: str) -> tuple[str, ...]:
    found = words(text)
    if not found:
        raise RequestError("no backend was named", hint=f"for example BACKEND={DEFAULT}")
    return found


def words(text: str) -> tuple[str, ...]:
    """What commas part."""
    return tuple(word.strip() for word in text.split(",") if word.strip())


def numbers(text: str | None) -> tuple[int, ...]:
    if text is None:
        return ()
    try:
        return tuple(int(number) for number in text.rstrip(",").split(","))
    except ValueError as error:
        raise RequestError(f"users {text!r} are not numbers", hint="for example USERS=10,50,100") from error


def size_bytes(text: str | None) -> int | None:
    """`300G`, `1.5TB`, `512MiB` or plain bytes; None where nothing was said."""
    if not text:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([KMGT]?)(i?)B?", text.strip(), re.IGNORECASE)
    if found is None:
        raise RequestError(f"{text!r} is no size", hint="for example 300G, 1.5T or 512MiB")
    power = " KMGT".index(found[2].upper() or " ")
    return int(float(found[1]) * (1024 if found[3] else 1000) ** power)


def positive(seconds: float | None) -> float | None:
    if seconds is not None and not 0 < seconds < math.inf:
        raise RequestError(f"a duration of {seconds:g} s cannot be measured", hint="for example DURATION=300")
    return seconds


def print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2))
