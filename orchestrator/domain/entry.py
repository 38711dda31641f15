"""One cell of one run as the history keeps it: which series it belongs to, its figures, what could have moved them.

Pure. Entries are made from results and their run's plan; they hold digests and words, never raw times.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from math import ceil
from typing import Any

from pydantic import Field

from backends.contract import Accelerator, FailureCause, ServeSpec, Value
from orchestrator.domain.cell import Cell, Load, Role
from orchestrator.domain.content import digest
from orchestrator.domain.intervals import Bounds
from orchestrator.domain.metrics import Metrics
from orchestrator.domain.provenance import Host, Provenance
from orchestrator.domain.reasons import Level
from orchestrator.domain.result import Phase, Result
from orchestrator.domain.series import Point, Watched

# What may change while a cell stays the same: the engine's version is what a history is kept for, and neighbours
# in the deployment are other cells.
_NOT_IDENTITY = {"version", "loads", "workload"}
_NOT_WORK = {"users", "system_prompts", "title"}
# Half of the memory's largest power of two in eighths: a kernel that keeps some more for itself is no other host.
_MEMORY_BITS = 4


class Trait(str, Enum):
    """What can differ between two runs of a cell on the same hardware."""

    ENGINE_VERSION = "engine version"
    IMAGE = "engine image"
    BASE_IMAGE = "base image"
    ARGV = "argv"
    ENV = "env"
    WEIGHTS = "weights"
    PROMPTS = "prompts"
    DRIVER = "driver"
    KERNEL = "kernel"
    SYSTEM = "operating system"
    RUNTIME = "runtime"
    GPUS = "GPU"
    PYTHON = "Python"
    LEVELBENCH = "levelbench"
    PACKAGES = "packages"


class Entry(Value):
    """A cell's end. `cell_key` says which measurement it is whatever its engine's version, `hardware_key` what it
    ran on (None where nobody noted it), `phases_s` what the phases of its group took."""

    run: str
    cell: str
    group: str
    cell_key: str
    hardware_key: str | None
    hardware: str
    method: int
    started_at: str
    backend: str
    release: str
    version: str
    model: str
    profile: str | None
    workload: str
    load: Load
    accelerator: Accelerator | None
    runtime: str
    role: Role = Role.MEASURED
    verdict: Level | None = None
    failure: FailureCause | None = None
    failed_in: Phase | None = None
    figures: dict[Watched, Point] = Field(default_factory=dict)
    traits: dict[Trait, str] = Field(default_factory=dict)
    phases_s: dict[Phase, float] = Field(default_factory=dict)


def entry(run: str, result: Result, *, sibling: Provenance | None, serve: ServeSpec | None) -> Entry:
    """`sibling` is what another cell of the run noted, for one that failed before it could; `serve` how the engine
    was planned to be started: what it was started with has ports and paths in it that mean nothing."""
    cell, group, provenance = result.cell, result.cell.group, result.provenance
    noted = provenance or sibling
    on = noted.host if noted else None
    return Entry(
        run=run,
        cell=cell.id,
        group=group.id,
        cell_key=cell_key(cell),
        hardware_key=None if on is None else _short(hardware(on, group.accelerator)),
        hardware="unknown" if on is None else ", ".join(hardware(on, group.accelerator)),
        method=result.method,
        started_at=result.started_at,
        backend=group.backend,
        release=group.release,
        version=group.version,
        model=group.model,
        profile=group.profile.value if group.profile else None,
        workload=group.workload.id,
        load=cell.load,
        accelerator=group.accelerator,
        runtime=group.runtime.value,
        role=group.role,
        verdict=result.verdict.level if result.verdict else None,
        failure=result.failure.cause if result.failure else None,
        failed_in=result.failure.phase if result.failure else None,
        figures={} if result.metrics is None else _figures(run, result.metrics),
        traits={Trait.ENGINE_VERSION: group.version}
        | _planned(serve)
        | ({} if noted is None else _shared(noted))
        | ({} if provenance is None else _own(provenance)),
        phases_s=result.phases_s,
    )


def cell_key(cell: Cell) -> str:
    """Equal for the same measurement in different runs. What is as its field's default does not count, so that a
    field which is added later splits no series."""
    parts = (
        cell.group.model_dump(mode="json", exclude=_NOT_IDENTITY, exclude_defaults=True),
        cell.group.workload.model_dump(mode="json", exclude=_NOT_WORK, exclude_defaults=True),
        cell.load.model_dump(mode="json", exclude_defaults=True),
    )
    return _short(parts)


def _short(value: Any) -> str:
    """16 characters over plain JSON."""
    return digest(value).removeprefix("sha256:")[:16]


def hardware(host: Host, accelerator: Accelerator | None) -> Sequence[str]:
    """In words, without what software can change. GPUs only where the engine could use them."""
    gpus = [] if accelerator is Accelerator.CPU else [gpu.name for gpu in host.gpus]
    step = 2 ** max(0, host.memory_bytes.bit_length() - _MEMORY_BITS)
    memory = ceil(host.memory_bytes / step) * step / 2**30
    return (*gpus, f"{host.cpus} x {host.cpu}", f"{memory:g} GiB", host.machine)


def _figures(run: str, m: Metrics) -> dict[Watched, Point]:
    found: Mapping[Watched, tuple[float | None, Bounds | None]] = {
        Watched.TOKEN_RATE: (m.tokens_per_s, m.tokens_per_s_bounds),
        Watched.TTFT_MEAN: (m.ttft_s.mean, m.ttft_s_bounds.mean),
        Watched.TTFT_P95: (m.ttft_s.p95, m.ttft_s_bounds.p95),
        Watched.ITL_MEAN: (m.itl_s.mean, None),
    }
    return {
        figure: Point(
            run=run, value=value, low=bounds.low if bounds else None, high=bounds.high if bounds else None
        )
        for figure, (value, bounds) in found.items()
        if value  # 0 is no figure of an engine that answered
    }


def _planned(serve: ServeSpec | None) -> dict[Trait, str]:
    if serve is None:
        return {}
    files = [file.model_dump() for file in serve.files]
    return {Trait.ARGV: _short((serve.argv, files)), Trait.ENV: _short(serve.env)}


def _shared(p: Provenance) -> dict[Trait, str]:
    """What all cells of a run have in common."""
    return _known(
        {
            Trait.DRIVER: ", ".join(sorted({gpu.driver for gpu in p.host.gpus})),
            Trait.KERNEL: p.host.kernel,
            Trait.SYSTEM: p.host.os,
            Trait.RUNTIME: p.runtime_version,
            Trait.GPUS: ", ".join(gpu.uuid for gpu in p.host.gpus),
            Trait.PYTHON: p.host.python,
            Trait.LEVELBENCH: f"{p.levelbench} {p.git_revision or 'no checkout'}{' changed' * p.git_dirty}",
            Trait.PACKAGES: _short(p.packages),
        }
    )


def _own(p: Provenance) -> dict[Trait, str]:
    return _known(
        {
            Trait.ENGINE_VERSION: p.engine_version,
            Trait.IMAGE: p.image.digest if p.image else None,
            Trait.BASE_IMAGE: p.image.base_digest if p.image else None,
            Trait.WEIGHTS: p.weights_digest,
            Trait.PROMPTS: f"{p.prompts_name} {p.prompts_digest}",
        }
    )


def _known(found: Mapping[Trait, str | None]) -> dict[Trait, str]:
    return {trait: value for trait, value in found.items() if value}
