"""An adapter for an engine that does not exist: it serves everything but 4-bit weights."""

from __future__ import annotations

from backends.contract import (
    Accelerator,
    Backend,
    Build,
    Deviation,
    FailureCause,
    FailureSignature,
    HostTraits,
    MetricsMap,
    ModelTraits,
    PackageSet,
    Profile,
    Quantization,
    Readback,
    ReadySpec,
    Refusal,
    Release,
    ServeSpec,
    Source,
    WeightsFormat,
)

NOTHING_MEASURED = Source(text="made up for tests")


def build(accelerator: Accelerator, version: str = "1.0") -> Build:
    return Build(
        accelerator=accelerator,
        version=version,
        base="nothing:1",
        packages=(PackageSet(lock="llama-cpp-cpu.txt"),),
        install_bytes=40_000_000,
        source=NOTHING_MEASURED,
    )


class FakeBackend(Backend):
    """`accelerators` are those that its `current` release is built for."""

    title = "Fake"

    def __init__(
        self, name: str = "fake", *, accelerators: tuple[Accelerator, ...] = (Accelerator.CPU,)
    ) -> None:
        self.name = name
        self.releases = (
            Release(id="current", date="2026-11", builds=tuple(build(a) for a in accelerators)),
            Release(id="2024-06", date="2024-06", builds=(build(Accelerator.CUDA, "0.1"),)),
        )

    def supports(self, release: Release, model: ModelTraits, host: HostTraits) -> Refusal | None:
        if release.build(host.accelerator) is None:
            return Refusal(reason=f"no {host.accelerator.value} build", alternative="RELEASE=current")
        if model.quantization is Quantization.AWQ:
            return Refusal(reason="4-bit weights are not read", alternative="MODEL=tiny")
        return None

    def serve(self, build: Build, model: ModelTraits, profile: Profile, host: HostTraits) -> ServeSpec:
        argv = (self.name, "{model}", "--port", "{port}")
        return ServeSpec(argv=argv, env={"FAKE": "1"}, port=1, weights=WeightsFormat.SAFETENSORS)

    def ready(self, build: Build) -> ReadySpec:
        return ReadySpec(health_path="/health", deadline_s=0.5)

    def metrics(self, build: Build) -> MetricsMap | None:
        return None

    def readbacks(self, build: Build) -> tuple[Readback, ...]:
        return (Readback(name="slots", pattern=r"slots=(\d+)"),)

    def failures(self, build: Build) -> tuple[FailureSignature, ...]:
        cause = FailureCause.MEMORY_KV_CACHE
        return (FailureSignature(pattern="no room for KV", cause=cause, hint="take fewer users"),)

    def deviations(self, build: Build, profile: Profile, host: HostTraits) -> tuple[Deviation, ...]:
        return (Deviation(setting="--port", value="free", reason="any will do"),)
