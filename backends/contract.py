"""What crosses the line between an engine's adapter and the orchestrator: plain, frozen values and one ABC.

An adapter is stateless and pure: equal input gives equal output, with no clock, network, file or
environment. It never sees a host path, a container id or a user count. Where a value depends on the
place where the engine will live (its port, the folder of the weights), argv and env carry a
placeholder (`{model}`, `{port}`, `{bind}`, `{files}`) which the runtime fills in.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from enum import Enum

from pydantic import BaseModel, ConfigDict, Field


class Value(BaseModel):
    """A frozen value that survives a JSON round trip; unknown fields are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Accelerator(str, Enum):
    """What computes: a property of the host and of a release's build, never a second backend."""

    CPU = "cpu"
    CUDA = "cuda"


class Profile(str, Enum):
    """Which settings an engine is served with (DESIGN.md, section 4)."""

    PUBLISHED = "published"
    DEFAULTS = "defaults"
    MATCHED = "matched"


class Dialect(str, Enum):
    """The wire shape of a streaming endpoint; `orchestrator.load.dialects` implements each."""

    OPENAI_CHAT = "openai-chat"
    OPENAI_COMPLETIONS = "openai-completions"


class WeightsFormat(str, Enum):
    """How weights lie on the disk."""

    SAFETENSORS = "safetensors"
    GGUF = "gguf"


class Quantization(str, Enum):
    """How weights are compressed; NONE means 16 bits."""

    NONE = "none"
    AWQ = "awq"


class FailureCause(str, Enum):
    """Why an engine did not come up or died, as read from its exit state and its log."""

    MEMORY_WEIGHTS = "memory-weights"
    MEMORY_KV_CACHE = "memory-kv-cache"
    SHARED_MEMORY = "shared-memory"
    GATED_MODEL = "gated-model"
    MODEL_FILES = "model-files"
    UNSUPPORTED_ARCHITECTURE = "unsupported-architecture"
    DRIVER_TOO_OLD = "driver-too-old"
    BAD_FLAG = "bad-flag"
    MISSING_LIBRARY = "missing-library"
    MISSING_COMPILER = "missing-compiler"
    PORT_IN_USE = "port-in-use"
    KILLED_BY_KERNEL = "killed-by-kernel"
    KILLED = "killed"
    UNKNOWN = "unknown"


class Gauge(str, Enum):
    """An engine's own figures that we follow, whatever the engine calls them."""

    RUNNING = "running"
    WAITING = "waiting"
    KV_USE = "kv_use"
    GENERATED_TOKENS = "generated_tokens_total"
    PROMPT_TOKENS = "prompt_tokens_total"


class HostTraits(Value):
    """What an adapter may know of a host. Memory in bytes; GPU fields are None without a GPU."""

    accelerator: Accelerator
    cpus: int = Field(ge=1)
    memory_bytes: int
    gpu_name: str | None = None
    gpu_memory_bytes: int | None = None
    compute_capability: tuple[int, int] | None = None


class ModelTraits(Value):
    """What an adapter may know of a model. `served_name` is the name that requests carry."""

    id: str
    served_name: str
    formats: tuple[WeightsFormat, ...]
    quantization: Quantization
    dtype: str
    weights_bytes: int
    context_tokens: int
    architecture: str = "LlamaForCausalLM"


class Matched(Value):
    """What `matched` sets alike on every engine, as far as the engine has the setting."""

    max_sequences: int
    sequence_tokens: int
    kv_tokens: int
    dtype: str = "float16"


MATCHED = {
    Accelerator.CPU: Matched(max_sequences=16, sequence_tokens=2048, kv_tokens=16 * 2048),
    Accelerator.CUDA: Matched(max_sequences=256, sequence_tokens=2048, kv_tokens=256 * 1024),
}


class Source(Value):
    """Where a fact was read: a URL, or a `file:line` of the engine's own source."""

    text: str
    verified: bool = True


class PackageSet(Value):
    """One lock file of Python packages (under dockerfiles/locks/), installed without resolving.

    `index_url` names the index that carries the set where it is not on PyPI.
    """

    lock: str
    index_url: str | None = None


class SiteFile(Value):
    """A small file that must stand in site-packages for the engine to run, and why."""

    path: str
    text: str
    reason: str


class Build(Value):
    """How one release is delivered for one accelerator.

    `base` is an image reference (by digest where it is known). A build with `packages` also has a
    process form: the same packages in a virtual environment. `context` are files under
    dockerfiles/context/ which the image or the process gets beside the engine. `python` and
    `max_python` bound the interpreters which the packages are locked for.
    """

    accelerator: Accelerator
    version: str
    base: str
    packages: tuple[PackageSet, ...] = ()
    system_packages: tuple[str, ...] = ()
    site_files: tuple[SiteFile, ...] = ()
    context: tuple[str, ...] = ()
    python: tuple[int, int] | None = None
    max_python: tuple[int, int] | None = None
    install_bytes: int = Field(description="disk that the installed form takes, for preflight")
    source: Source

    def based_on(self, setting: str | None) -> str:
        """The base image, where a setting may replace a plain Debian, but never an engine's own image."""
        return setting if setting and self.packages else self.base


class Release(Value):
    """A pinned engine version. `id` is `2024-06` or `current`; one build per accelerator."""

    id: str
    date: str
    builds: tuple[Build, ...]
    profiles: tuple[Profile, ...] = (Profile.DEFAULTS, Profile.MATCHED)

    def build(self, accelerator: Accelerator) -> Build | None:
        return next((b for b in self.builds if b.accelerator is accelerator), None)


class ImageSpec(Value):
    """What the image of a release is made from. `template` lies in dockerfiles/."""

    backend: str
    release: str
    template: str
    build: Build


class Mount(str, Enum):
    """A folder that must be writable while the root is read-only."""

    TMP = "/tmp"  # noqa: S108 - a path inside the container
    CACHE = "/cache"


class ServeSpec(Value):
    """How an engine is started: argv with placeholders, never a shell string."""

    argv: tuple[str, ...]
    env: dict[str, str] = Field(default_factory=dict)
    port: int
    shared_memory_bytes: int = 64 * 2**20
    writable: tuple[Mount, ...] = (Mount.TMP,)
    read_only_root: bool = True
    user: str | None = "1000:1000"
    weights: WeightsFormat
    stop_s: float = 10.0


class ReadySpec(Value):
    """How an engine says that it serves, and the log lines that mean that it never will though it lives."""

    health_path: str
    models_path: str | None = "/v1/models"
    deadline_s: float
    fatal: tuple[str, ...] = ()


class Readback(Value):
    """A setting in force, as the engine's log tells it: a pattern whose first group is the value."""

    name: str
    pattern: str


class FailureSignature(Value):
    """A regular expression over an engine's log, and the cause that it proves."""

    pattern: str
    cause: FailureCause
    hint: str


class Deviation(Value):
    """A setting that is not the engine's default: what, why, and where that is known from."""

    setting: str
    value: str
    reason: str
    source: Source | None = None


def changed(flags: tuple[str, ...], reason: str, source: Source | None = None) -> tuple[Deviation, ...]:
    """The deviations that a run of flags makes: `--flag value` pairs and lone switches."""
    found = []
    for i, flag in enumerate(flags):
        if flag.startswith("--"):
            following = flags[i + 1] if i + 1 < len(flags) else "--"
            value = "on" if following.startswith("--") else following
            found.append(Deviation(setting=flag, value=value, reason=reason, source=source))
    return tuple(found)


# What engines on Python, PyTorch and CUDA print alike; adapters put their own signatures before these.
COMMON_FAILURES = (
    FailureSignature(
        pattern=r"error: unrecognized arguments|error: argument ",
        cause=FailureCause.BAD_FLAG,
        hint="this release does not know the flag; see the log",
    ),
    FailureSignature(
        pattern=r"CUDA out of memory|OutOfMemoryError|cudaErrorMemoryAllocation|can't allocate memory",
        cause=FailureCause.MEMORY_WEIGHTS,
        hint="the weights do not fit: take a smaller or a quantised model, or free memory",
    ),
    FailureSignature(
        pattern=r"GatedRepoError|Cannot access gated repo|401 Client Error",
        cause=FailureCause.GATED_MODEL,
        hint="accept the model's licence on the hub and set HF_TOKEN",
    ),
    FailureSignature(
        pattern=r"driver version is insufficient|forward compatibility was attempted",
        cause=FailureCause.DRIVER_TOO_OLD,
        hint="the image's CUDA is newer than the driver: update the driver, or take an older release",
    ),
    FailureSignature(
        pattern=r"address already in use|couldn't bind|bind HTTP server socket",
        cause=FailureCause.PORT_IN_USE,
        hint="another program holds the port; choose one with PORT=",
    ),
    FailureSignature(
        pattern=r"ImportError: .*\.so|cannot open shared object file",
        cause=FailureCause.MISSING_LIBRARY,
        hint="a system library is missing: install the named one, or use RUNTIME=docker",
    ),
)


class MetricsMap(Value):
    """Where an engine's Prometheus figures are and what it calls ours."""

    path: str
    names: dict[Gauge, str]


class Refusal(Value):
    """An adapter's 'no': why a pair cannot be served, and what to take instead."""

    reason: str
    alternative: str | None = None


class Backend(ABC):
    """One engine. Subclasses are stateless; every method is pure."""

    name: str
    title: str
    releases: tuple[Release, ...]

    def release(self, release_id: str) -> Release | None:
        return next((r for r in self.releases if r.id == release_id), None)

    def image(self, release: Release, build: Build) -> ImageSpec:
        template = f"{self.name}.Dockerfile.j2"
        return ImageSpec(backend=self.name, release=release.id, template=template, build=build)

    @abstractmethod
    def supports(self, release: Release, model: ModelTraits, host: HostTraits) -> Refusal | None:
        """None where the pair can be served on that host; otherwise the reason."""

    @abstractmethod
    def serve(self, build: Build, model: ModelTraits, profile: Profile, host: HostTraits) -> ServeSpec:
        """The launch command of a pair that `supports` accepted."""

    @abstractmethod
    def ready(self, build: Build) -> ReadySpec:
        """How to see that the engine serves."""

    def dialects(self, build: Build) -> tuple[Dialect, ...]:
        """The wire shapes that the release serves, the preferred one first."""
        return (Dialect.OPENAI_CHAT, Dialect.OPENAI_COMPLETIONS)

    @abstractmethod
    def metrics(self, build: Build) -> MetricsMap | None:
        """The engine's own figures, or None where it exposes none."""

    @abstractmethod
    def readbacks(self, build: Build) -> tuple[Readback, ...]:
        """Settings to read back from the log once the engine serves: what was asked is not what is."""

    @abstractmethod
    def failures(self, build: Build) -> tuple[FailureSignature, ...]:
        """Log signatures, the most specific first."""

    @abstractmethod
    def deviations(self, build: Build, profile: Profile, host: HostTraits) -> tuple[Deviation, ...]:
        """Every setting of `serve` that is not the engine's default; reports print them all."""
