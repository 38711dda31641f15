"""All checks of a host at once: for a person (`doctor`), or for what one plan needs (`check_plan`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from backends.contract import Accelerator
from orchestrator.domain.cell import RuntimeKind
from orchestrator.host import checks
from orchestrator.host.checks import Space
from orchestrator.host.findings import Finding, Level
from orchestrator.host.ports import port


@dataclass(frozen=True, slots=True)
class Site:
    """Where the checks look. The two callables ask the daemon and raise a BenchError where there is none;
    a token is handed in so that nothing here reads the environment, and shows in no repr."""

    cache_dir: Path
    runs_dir: Path
    docker_version: Callable[[], str]
    docker_runtimes: Callable[[], Sequence[str]]
    token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Needs:
    """What a plan takes from a host. Bytes are those that are not there yet."""

    accelerator: Accelerator
    runtime: RuntimeKind
    cache_bytes: int = 0
    runs_bytes: int = 0
    memory_bytes: int = 0
    ports: tuple[int, ...] = ()
    gated: bool = False


def doctor(site: Site, ports: Sequence[int] = ()) -> tuple[Finding, ...]:
    """Everything. What only some plans need is a warning, since `make bench` works without it."""
    daemon = checks.docker(site.docker_version, Level.WARN)
    gpus = checks.gpus(Level.WARN)
    return (
        daemon,
        *_toolkit(site, Level.WARN, for_=(daemon, gpus[0])),
        *gpus,
        checks.python(Level.FAIL),
        checks.cpus(),
        checks.governor(),
        checks.memory(),
        checks.swap(),
        *checks.disk(_spaces(site)),
        *(port(number) for number in ports),
        checks.models(site.cache_dir),
        checks.token(site.token, Level.WARN),
    )


def check_plan(site: Site, needs: Needs) -> tuple[Finding, ...]:
    """What this plan needs, and what would spoil its figures."""
    gpus = checks.gpus(Level.FAIL) if needs.accelerator is Accelerator.CUDA else ()
    return (
        *_runtime(site, needs, gpus),
        *gpus,
        checks.cpus(),
        checks.governor(),
        checks.memory(needs.memory_bytes),
        checks.swap(),
        *checks.disk(_spaces(site, needs.cache_bytes, needs.runs_bytes)),
        *(port(number) for number in needs.ports),
        checks.models(site.cache_dir),
        *((checks.token(site.token, Level.FAIL),) if needs.gated else ()),
    )


def _runtime(site: Site, needs: Needs, gpus: tuple[Finding, ...]) -> tuple[Finding, ...]:
    if needs.runtime is RuntimeKind.PROCESS:
        return (checks.python(Level.FAIL),)
    daemon = checks.docker(site.docker_version, Level.FAIL)
    if not gpus:
        return (daemon,)
    return (daemon, *_toolkit(site, Level.FAIL, for_=(daemon, gpus[0])))


def _toolkit(site: Site, missing: Level, for_: tuple[Finding, ...]) -> tuple[Finding, ...]:
    """Only where there are a daemon and a GPU: else there is nothing that the toolkit could do."""
    if any(finding.level is not Level.OK for finding in for_):
        return ()
    return (checks.toolkit(site.docker_runtimes, missing),)


def _spaces(site: Site, cache_bytes: int = 0, runs_bytes: int = 0) -> tuple[Space, ...]:
    return (Space(site.cache_dir, cache_bytes, "models"), Space(site.runs_dir, runs_bytes, "runs"))
