"""What was measured on what, so that a reader can judge whether two results may be compared."""

from __future__ import annotations

from pydantic import Field

from backends.contract import Deviation, Value
from orchestrator.domain.cell import RuntimeKind
from orchestrator.domain.evidence import Apart


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


class CpuSets(Value):
    """The CPUs of the engine and of the load client, and the NUMA nodes of the engine's. Without any the engine
    may run on all."""

    engine: tuple[int, ...]
    client: tuple[int, ...]
    nodes: tuple[int, ...] = ()
    apart: Apart


class Image(Value):
    """What the engine ran from: an image's digest, or the digest of a venv's installed packages."""

    reference: str
    digest: str
    base_digest: str | None = None
    size_bytes: int


class ClientSelfTest(Value):
    """What the load client's latest self-test on this host came to, at the load with the most users that it carried
    whole; None where it had too few samples. Errors are p99: of first tokens, by the kernel's stamps and by our own,
    and of gaps. `levelbench` is the version that was tested, `same_host` whether CPU, kernel and memory are those of
    this run."""

    levelbench: str
    started_at: str
    same_host: bool
    users: int
    events_per_s: float
    ttft_error_s: float | None
    itl_error_s: float | None
    user_ttft_error_s: float | None
    user_itl_error_s: float | None
    cpu_per_event_s: float
    ceiling_per_s: float


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
    gpus: tuple[str, ...] | None = Field(default=None, description="UUIDs of those that the engine was given")
    cpus: CpuSets | None = Field(default=None, description="who ran on which CPUs")
    packages: dict[str, str] = Field(description="versions of levelbench's own dependencies")
    effective: dict[str, str] = Field(default_factory=dict, description="settings read back from the engine")
    deviations: tuple[Deviation, ...] = ()
    client_selftest: ClientSelfTest | None = None
