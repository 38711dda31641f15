"""What was measured on what, so that a reader can judge whether two results may be compared."""

from __future__ import annotations

from pydantic import Field

from backends.contract import Deviation, Value
from orchestrator.domain.cell import RuntimeKind


class Gpu(Value):
    """One GPU as NVML names it."""

    uuid: str
    name: str
    memory_bytes: int
    driver: str
    compute_capability: tuple[int, int] | None = None


class Host(Value):
    """The machine. It carries no host name, so that a result can be handed on."""

    os: str
    kernel: str
    machine: str
    cpu: str
    cpus: int
    memory_bytes: int
    python: str
    gpus: tuple[Gpu, ...] = ()


class Image(Value):
    """What the engine ran from: an image's digest, or the digest of a venv's installed packages."""

    reference: str
    digest: str
    base_digest: str | None = None
    size_bytes: int


class Provenance(Value):
    """Everything that could make another run differ from this one. Of an endpoint that was up already nobody
    knows the image and the weights. `serving` is what stood before the engine, None for nothing."""

    levelbench: str
    git_revision: str | None
    git_dirty: bool
    host: Host
    runtime: RuntimeKind
    runtime_version: str
    serving: str | None = None
    engine_version: str
    image: Image | None
    argv: tuple[str, ...]
    env: dict[str, str]
    weights_digest: str | None
    prompts_name: str
    prompts_digest: str
    packages: dict[str, str] = Field(description="versions of levelbench's own dependencies")
    effective: dict[str, str] = Field(default_factory=dict, description="settings read back from the engine")
    deviations: tuple[Deviation, ...] = ()
