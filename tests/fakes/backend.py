"""An adapter for an engine that does not exist: it serves everything but 4-bit weights."""

from __future__ import annotations

from backends.contract import (
    Accelerator,
    Backend,
    Build,
    Deviation,
    Dialect,
    Facts,
    FailureCause,
    FailureSignature,
    MetricsMap,
    PackageSet,
    PrefixCache,
    Quantization,
    Readback,
    ReadySpec,
    Refusal,
    Release,
    RequestField,
    RequestSpec,
    ServeSpec,
    Setup,
    Source,
    StepSpec,
    WeightsFormat,
)

NOTHING_MEASURED = Source(text="made up for tests")


def build(accelerator: Accelerator, version: str = "1.0", release: str = "current") -> Build:
    return Build(
        release=release,
        accelerator=accelerator,
        version=version,
        base="nothing:1",
        packages=(PackageSet(lock="llama-cpp-cpu.txt"),),
        install_bytes=40_000_000,
        source=NOTHING_MEASURED,
    )


FACTS = Facts(
    quantization="none",
    hardware="any",
    releases="never",
    compile_step="none",
    prefix_cache="on",
    defaults="none",
    stop="at once",
    figures="none",
    sources=(NOTHING_MEASURED,),
)


class FakeBackend(Backend):
    """`accelerators` are those that its `current` release is built for; `refused` fields its requests lack."""

    title = "Fake"
    reads_awq = False
    awq_release: str | None = None
    instead: str | None = "MODEL=tiny"
    refused: tuple[RequestField, ...] = ()
    cache = PrefixCache(default_on=True)
    makes: tuple[StepSpec, ...] = ()

    def __init__(
        self, name: str = "fake", *, accelerators: tuple[Accelerator, ...] = (Accelerator.CPU,)
    ) -> None:
        self.name = name
        self.releases = (
            Release(id="current", date="2026-11", builds=tuple(build(a) for a in accelerators), facts=FACTS),
            Release(
                id="2024-06",
                date="2024-06",
                builds=(build(Accelerator.CUDA, "0.1", "2024-06"),),
                facts=FACTS,
            ),
        )

    def supports(self, setup: Setup) -> Refusal | None:
        reads_awq = self.reads_awq or setup.build.release == self.awq_release
        if setup.model.quantization is Quantization.AWQ and not reads_awq:
            return Refusal(reason="4-bit weights are not read", alternative=self.instead)
        return None

    def steps(self, setup: Setup) -> tuple[StepSpec, ...]:
        return self.makes

    def serve(self, setup: Setup) -> ServeSpec:
        argv = (self.name, "{model}", "--port", "{port}")
        return ServeSpec(argv=argv, env={"FAKE": "1"}, port=1, weights=WeightsFormat.SAFETENSORS)

    def request(self, setup: Setup) -> RequestSpec:
        return RequestSpec(dialect=Dialect.OPENAI_CHAT, refused=self.refused)

    def prefix_cache(self, build: Build) -> PrefixCache:
        return self.cache

    def ready(self, build: Build) -> ReadySpec:
        return ReadySpec(health_path="/health", deadline_s=0.5)

    def metrics(self, build: Build) -> MetricsMap | None:
        return None

    def readbacks(self, build: Build) -> tuple[Readback, ...]:
        return (Readback(name="slots", pattern=r"slots=(\d+)"),)

    def failures(self, build: Build) -> tuple[FailureSignature, ...]:
        cause = FailureCause.MEMORY_KV_CACHE
        return (FailureSignature(pattern="no room for KV", cause=cause, hint="take fewer users"),)

    def deviations(self, setup: Setup) -> tuple[Deviation, ...]:
        return (Deviation(setting="--port", value="free", reason="any will do"),)
