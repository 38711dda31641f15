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
    Dialect,
    Facts,
    FailureCause,
    FailureSignature,
    Gauge,
    HostTraits,
    MetricsMap,
    OptionsRef,
    PackageSet,
    PrefixCache,
    PrefixCaching,
    Profile,
    Quantization,
    Readback,
    ReadySpec,
    Refusal,
    Release,
    RequestSpec,
    ServeSpec,
    Setting,
    Setup,
    Source,
    WeightsFormat,
    deviations,
    loads,
    words,
)

_SERVER_SOURCE = Source(text="llama.cpp tools/server/server.cpp:156-160, common/arg.cpp at 0c1e57098")

_CPU = Build(
    release="current",
    accelerator=Accelerator.CPU,
    version="xllamacpp 2026.10.11549",
    base="debian:bookworm-slim",
    packages=(PackageSet(lock="llama-cpp-cpu.txt"),),
    system_packages=("libgomp1",),
    context=("llama_cpp_server.py",),
    formats=(WeightsFormat.GGUF,),
    serves=loads(None, Quantization.NONE),
    seen="process and container",
    python=(3, 10),
    install_bytes=110 * 2**20,
    source=Source(text="https://pypi.org/project/xllamacpp/2026.10.11549/"),
)

_FACTS = Facts(
    quantization="GGUF: 1.5 to 8 bits",
    hardware="CPU, CUDA, Metal, ROCm, Vulkan, SYCL",
    releases="a build number a commit, several a day",
    compile_step="none (weights converted to GGUF)",
    prefix_cache="on, per slot",
    defaults="4 slots over one KV cache; batch 2048, ubatch 512",
    stop="waits for open streams",
    figures="with --metrics: running, waiting, tokens",
    sources=(_SERVER_SOURCE,),
)


class LlamaCpp(Backend):
    name = "llama-cpp"
    title = "llama.cpp"
    releases = (Release(id="current", date="2026-10", builds=(_CPU,), facts=_FACTS),)

    def supports(self, setup: Setup) -> Refusal | None:
        if WeightsFormat.GGUF not in setup.model.formats:
            return Refusal(
                reason=f"{self.title} reads GGUF only, and {setup.model.id} has none",
                alternative="MODEL=small or MODEL=tiny, or another backend",
            )
        return None

    def serve(self, setup: Setup) -> ServeSpec:
        argv = (
            *("python3", "{files}/llama_cpp_server.py", "--model", "{model}/model.gguf"),
            *("--alias", setup.model.served_name, "--host", "{bind}", "--port", "{port}"),
            *words(_settings(setup)),
        )
        return ServeSpec(
            argv=argv,
            options=OptionsRef(name="xllamacpp-2026.10.11549", start=2),
            port=8080,
            weights=WeightsFormat.GGUF,
            stop_s=5.0,
        )

    def request(self, setup: Setup) -> RequestSpec:
        return RequestSpec(dialect=Dialect.OPENAI_CHAT)

    def deviations(self, setup: Setup) -> tuple[Deviation, ...]:
        return deviations(_settings(setup))

    def prefix_cache(self, build: Build) -> PrefixCache:
        return PrefixCache(default_on=True)

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


def _settings(setup: Setup) -> tuple[Setting, ...]:
    """`defaults`: llama-server's own 4 slots over one KV cache of the model's context length."""
    spinning = (
        "one core is left to the load client; spinning on all cores beside a client was measured "
        "4 to 8 times slower"
    )
    shortened = (
        "requests state temperature and top_p; by its own top_k 40 and min_p 0.05 this engine would "
        "answer in 94 tokens where another gives 154"
    )
    found: tuple[Setting, ...] = (
        Setting(words=("--threads", str(_threads(setup.host))), reason=spinning),
        Setting(words=("--metrics",), reason="the engine's own figures are followed"),
        Setting(words=("--top-k", "0", "--min-p", "0"), reason=shortened),
    )
    if setup.prefix_caching is PrefixCaching.OFF:
        off = Setting(words=("--no-cache-prompt", "--cache-ram", "0"), reason="prefix caching off, as asked")
        found = (*found, off)
    if setup.profile is not Profile.MATCHED:
        return found
    matched = MATCHED[setup.build.accelerator]
    slots = ("--parallel", str(matched.max_sequences), "--ctx-size", str(matched.kv_tokens), "--kv-unified")
    reason = "profile matched: the same sequence cap and KV budget on every engine"
    return (*found, Setting(words=slots, reason=reason, source=_SERVER_SOURCE))


def _threads(host: HostTraits) -> int:
    return max(1, host.cpus - 1)


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
