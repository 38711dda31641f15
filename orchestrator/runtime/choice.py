"""RUNTIME=: auto is docker wherever it can serve; what was asked for by name is never replaced."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from backends.contract import Build
from orchestrator.domain.cell import RuntimeChoice
from orchestrator.errors import HostError
from orchestrator.runtime import images
from orchestrator.runtime.daemon import Daemon
from orchestrator.runtime.docker import DockerRuntime
from orchestrator.runtime.interface import Runtime
from orchestrator.runtime.process import ProcessRuntime


def choose(
    choice: RuntimeChoice,
    daemon: Daemon,
    builds: Sequence[Build],
    *,
    base: str | None,
    cache_dir: Path,
    environment: Mapping[str, str],
    pull: bool,
) -> tuple[Runtime, tuple[str, ...]]:
    """The runtime, and a line about every choice that was made for the user.

    With `pull`, a base image that is not here is pulled to find out whether it can be had.
    """
    in_docker = DockerRuntime(daemon, cache_dir, environment, base)
    in_process = ProcessRuntime(cache_dir, environment)
    if choice is RuntimeChoice.PROCESS:
        return in_process, ()
    if choice is RuntimeChoice.DOCKER or any(not build.packages for build in builds):
        return in_docker, ()
    bases = list(dict.fromkeys(build.based_on(base) for build in builds))
    reason = _no_docker(in_docker, bases, pull=pull)
    if reason is None:
        return in_docker, () if pull else _not_here(in_docker, bases)
    in_docker.close()
    return in_process, (f"{reason}; so engines run as processes of this host (RUNTIME=process)",)


def _no_docker(runtime: DockerRuntime, bases: Sequence[str], *, pull: bool) -> str | None:
    try:
        reasons = (images.base_missing(runtime.client, base, pull=pull) for base in bases)
        return next((reason for reason in reasons if reason is not None), None)
    except HostError as error:
        return str(error)


def _not_here(runtime: DockerRuntime, bases: Sequence[str]) -> tuple[str, ...]:
    """What a plan cannot know without pulling."""
    absent = (base for base in bases if images.find(runtime.client, base) is None)
    instead = "where it cannot, engines run as processes of this host"
    return tuple(f"{base} is not here yet: bench pulls it; {instead}" for base in absent)
