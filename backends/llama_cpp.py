"""llama.cpp's HTTP server, out of the prebuilt `xllamacpp` wheel on the CPU.

The default engine of a bare `make bench`: installed in a second, healthy in under one
(reference/cpu-engine.md, sections 1 and 3).
"""

from __future__ import annotations

from backends.contract import (
    COMMON_FAILURES,
    MATCHED,
    Accelerator,
    Backend,
    Build,
    Deviation,
    FailureCause,
    FailureSignature,
    Gauge,
    HostTraits,
    MetricsMap,
    ModelTraits,
    PackageSet,
    Profile,
    Readback,
    ReadySpec,
    Refusal,
    Release,
    ServeSpec,
    Source,
    WeightsFormat,
    changed,
)

_SERVER_SOURCE = Source(text="llama.cpp tools/server/server.cpp:156-160, common/arg.cpp at 0c1e57098")

_CPU = Build(
    accelerator=Accelerator.CPU,
    version="xllamacpp 2026.10.11549",
    base="debian:bookworm-slim",
    packages=(PackageSet(lock="llama-cpp-cpu.txt"),),
    system_packages=("libgomp1",),
    context=("llama_cpp_server.py",),
    python=(3, 10),
    install_bytes=110 * 2**20,
    source=Source(text="https://pypi.org/project/xllamacpp/2026.10.11549/"),
)

_PLAIN_SAMPLING = ("--top-k", "0", "--min-p", "0")


class LlamaCpp(Backend):
    name = "llama-cpp"
    title = "llama.cpp"
    releases = (Release(id="current", date="2026-10", builds=(_CPU,)),)

    def supports(self, release: Release, model: ModelTraits, host: HostTraits) -> Refusal | None:
        if WeightsFormat.GGUF not in model.formats:
            return Refusal(
                reason=f"{self.title} reads GGUF only, and {model.id} has none",
                alternative="MODEL=small or MODEL=tiny, or another backend",
            )
        if release.build(host.accelerator) is None:
            return Refusal(
                reason=f"{self.title} has no {host.accelerator.value} build here",
                alternative="ACCELERATOR=cpu",
            )
        return None

    def serve(self, build: Build, model: ModelTraits, profile: Profile, host: HostTraits) -> ServeSpec:
        argv = (
            "python3",
            "{files}/llama_cpp_server.py",
            "--model",
            "{model}/model.gguf",
            "--alias",
            model.served_name,
            "--host",
            "{bind}",
            "--port",
            "{port}",
            "--threads",
            str(_threads(host)),
            "--metrics",
            *_PLAIN_SAMPLING,
            *_profile_flags(build, profile),
        )
        return ServeSpec(argv=argv, port=8080, weights=WeightsFormat.GGUF, stop_s=5.0)

    def ready(self, build: Build) -> ReadySpec:
        return ReadySpec(health_path="/health", deadline_s=120)

    def metrics(self, build: Build) -> MetricsMap | None:
        names = {
            Gauge.RUNNING: "llamacpp:requests_processing",
            Gauge.WAITING: "llamacpp:requests_deferred",
            Gauge.GENERATED_TOKENS: "llamacpp:tokens_predicted_total",
            Gauge.PROMPT_TOKENS: "llamacpp:prompt_tokens_total",
        }
        return MetricsMap(path="/metrics", names=names)

    def readbacks(self, build: Build) -> tuple[Readback, ...]:
        return (
            Readback(name="slots", pattern=r"n_slots = (\d+)"),
            Readback(name="context_per_slot", pattern=r"n_ctx_slot = (\d+)"),
            Readback(name="kv_unified", pattern=r"kv_unified = '(\w+)'"),
        )

    def failures(self, build: Build) -> tuple[FailureSignature, ...]:
        return (*_FAILURES, *COMMON_FAILURES)

    def deviations(self, build: Build, profile: Profile, host: HostTraits) -> tuple[Deviation, ...]:
        spinning = (
            "one core is left to the load client; spinning on all cores beside a client was measured "
            "4 to 8 times slower"
        )
        shortened = (
            "requests state temperature and top_p; by its own top_k 40 and min_p 0.05 this engine would "
            "answer in 94 tokens where another gives 154"
        )
        reason = "profile matched: the same sequence cap and KV budget on every engine"
        return (
            *changed(("--threads", str(_threads(host))), spinning),
            *changed(("--metrics",), "the engine's own figures are followed"),
            *changed(_PLAIN_SAMPLING, shortened),
            *changed(_profile_flags(build, profile), reason, _SERVER_SOURCE),
        )


def _threads(host: HostTraits) -> int:
    return max(1, host.cpus - 1)


def _profile_flags(build: Build, profile: Profile) -> tuple[str, ...]:
    """`defaults`: llama-server's own 4 slots over one KV cache of the model's context length."""
    if profile is Profile.DEFAULTS:
        return ()
    matched = MATCHED[build.accelerator]
    return ("--parallel", str(matched.max_sequences), "--ctx-size", str(matched.kv_tokens), "--kv-unified")


_FAILURES = (
    FailureSignature(
        pattern=r"failed to allocate|unable to allocate|bad_alloc",
        cause=FailureCause.MEMORY_WEIGHTS,
        hint="free memory, or take a smaller model",
    ),
    FailureSignature(
        pattern=r"unknown model architecture",
        cause=FailureCause.UNSUPPORTED_ARCHITECTURE,
        hint="this release cannot run the model; take a newer release",
    ),
    FailureSignature(
        pattern=r"failed to load model|failed to open GGUF|invalid magic",
        cause=FailureCause.MODEL_FILES,
        hint="the model's files are missing or broken; remove its folder in the cache and try again",
    ),
)
