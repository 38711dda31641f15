"""LMDeploy with the TurboMind engine, on CUDA only (reference/backends-current.md, section 2)."""

from __future__ import annotations

from backends.contract import (
    COMMON_FAILURES,
    MATCHED,
    Accelerator,
    Backend,
    Build,
    Deviation,
    FailureSignature,
    Gauge,
    HostTraits,
    MetricsMap,
    ModelTraits,
    Mount,
    Profile,
    Quantization,
    Readback,
    ReadySpec,
    Refusal,
    Release,
    ServeSpec,
    Source,
    WeightsFormat,
    changed,
)

_CUDA = Build(
    accelerator=Accelerator.CUDA,
    version="0.18.0",
    base="openmmlab/lmdeploy:v0.18.0-cu12.8",
    install_bytes=25 * 2**30,
    source=Source(
        text="LMDeploy 0.18.0; the image's tag follows the release workflow's pattern", verified=False
    ),
)


class Lmdeploy(Backend):
    name = "lmdeploy"
    title = "LMDeploy"
    releases = (Release(id="current", date="2026-11", builds=(_CUDA,)),)

    def supports(self, release: Release, model: ModelTraits, host: HostTraits) -> Refusal | None:
        if release.build(host.accelerator) is None:
            return Refusal(
                reason=f"{self.title} runs on CUDA only", alternative="BACKEND=llama-cpp or BACKEND=vllm"
            )
        if WeightsFormat.SAFETENSORS not in model.formats:
            return Refusal(reason=f"{self.title} reads safetensors, and {model.id} has none")
        if host.compute_capability is not None and host.compute_capability < (7, 5):
            return Refusal(reason="TurboMind needs compute capability 7.5 or newer")
        return None

    def serve(self, build: Build, model: ModelTraits, profile: Profile, host: HostTraits) -> ServeSpec:
        argv = (
            *("lmdeploy", "serve", "api_server", "{model}", "--model-name", model.served_name),
            *("--server-name", "{bind}", "--server-port", "{port}", "--backend", "turbomind"),
            *_format_flags(model),
            *_profile_flags(build, profile),
        )
        env = {"HF_HUB_OFFLINE": "1", "HF_HOME": f"{Mount.CACHE.value}/huggingface"}
        return ServeSpec(
            argv=argv,
            env=env,
            port=23333,
            shared_memory_bytes=16 * 2**30,
            writable=(Mount.TMP, Mount.CACHE),
            read_only_root=False,
            user=None,
            weights=WeightsFormat.SAFETENSORS,
            stop_s=30.0,
        )

    def ready(self, build: Build) -> ReadySpec:
        return ReadySpec(health_path="/health", deadline_s=1800)

    def metrics(self, build: Build) -> MetricsMap | None:
        """Gauges refresh every 10 s only (serve/openai/api_server.py:228-239); counters are live."""
        names = {
            Gauge.RUNNING: "lmdeploy:num_requests_running",
            Gauge.WAITING: "lmdeploy:num_requests_waiting",
            Gauge.KV_USE: "lmdeploy:gpu_cache_usage_perc",
            Gauge.GENERATED_TOKENS: "lmdeploy:generation_tokens_total",
            Gauge.PROMPT_TOKENS: "lmdeploy:prompt_tokens_total",
        }
        return MetricsMap(path="/metrics", names=names)

    def readbacks(self, build: Build) -> tuple[Readback, ...]:
        """The log's wording was not seen on a GPU: what is not found is not shown."""
        return (
            Readback(name="max_batch_size", pattern=r"max_batch_size=(\d+)"),
            Readback(name="kv_pool_share", pattern=r"cache_max_entry_count=([\d.]+)"),
            Readback(name="dtype", pattern=r"dtype='?(\w+)"),
        )

    def failures(self, build: Build) -> tuple[FailureSignature, ...]:
        return COMMON_FAILURES

    def deviations(self, build: Build, profile: Profile, host: HostTraits) -> tuple[Deviation, ...]:
        named = "the engine's default, named because it falls back to PyTorch without a word"
        source = Source(text="lmdeploy/archs.py:10 autoget_backend")
        return (
            *changed(("--backend", "turbomind"), named, source),
            *changed(_profile_flags(build, profile), "profile matched: the same on every engine"),
        )


def _format_flags(model: ModelTraits) -> tuple[str, ...]:
    return ("--model-format", "awq") if model.quantization is Quantization.AWQ else ()


def _profile_flags(build: Build, profile: Profile) -> tuple[str, ...]:
    if profile is Profile.DEFAULTS:
        return ()
    matched = MATCHED[build.accelerator]
    return (
        *("--dtype", matched.dtype, "--max-batch-size", str(matched.max_sequences)),
        *("--session-len", str(matched.sequence_tokens)),
        "--enable-prefix-caching",
    )
