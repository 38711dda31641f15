"""LMDeploy with the TurboMind engine, on CUDA only (reference/backends-current.md, section 2)."""

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
    FailureSignature,
    Gauge,
    MetricsMap,
    Mount,
    OptionsRef,
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
    words,
)

_CUDA = Build(
    release="current",
    accelerator=Accelerator.CUDA,
    version="0.18.0",
    base="openmmlab/lmdeploy:v0.18.0-cu12.8",
    install_bytes=25 * 2**30,
    source=Source(
        text="LMDeploy 0.18.0; the image's tag follows the release workflow's pattern", verified=False
    ),
)
_FACTS = Facts(
    quantization="AWQ, GPTQ, FP8, MXFP4, compressed-tensors; 4- and 8-bit KV",
    hardware="CUDA; Ascend and others through its PyTorch engine",
    releases="monthly",
    compile_step="none (converts on the fly)",
    prefix_cache="off; --enable-prefix-caching",
    defaults="batch by GPU (A100: 384); KV pool 0.8 of what is free after the weights; dtype of the checkpoint",
    stop="uvicorn's",
    figures="/metrics: running, waiting, KV use, tokens, TTFT; gauges refresh every 10 s",
    sources=(Source(text="LMDeploy 0.18.0 wheel: messages.py:398, utils.py:404-420, metrics/loggers.py"),),
)


class Lmdeploy(Backend):
    name = "lmdeploy"
    title = "LMDeploy"
    releases = (Release(id="current", date="2026-11", builds=(_CUDA,), facts=_FACTS),)

    def supports(self, setup: Setup) -> Refusal | None:
        model, capability = setup.model, setup.host.compute_capability
        if WeightsFormat.SAFETENSORS not in model.formats:
            return Refusal(reason=f"{self.title} reads safetensors, and {model.id} has none")
        if capability is not None and capability < (7, 5):
            return Refusal(reason="TurboMind needs compute capability 7.5 or newer")
        return None

    def serve(self, setup: Setup) -> ServeSpec:
        model = setup.model
        argv = (
            *("lmdeploy", "serve", "api_server", "{model}", "--model-name", model.served_name),
            *("--server-name", "{bind}", "--server-port", "{port}"),
            *(("--model-format", "awq") if model.quantization is Quantization.AWQ else ()),
            *words(_settings(setup)),
        )
        return ServeSpec(
            argv=argv,
            options=OptionsRef(name="lmdeploy-0.18.0", start=3),
            env={"HF_HUB_OFFLINE": "1", "HF_HOME": f"{Mount.CACHE.value}/huggingface"},
            port=23333,
            shared_memory_bytes=16 * 2**30,
            writable=(Mount.TMP, Mount.CACHE),
            read_only_root=False,
            user=None,
            weights=WeightsFormat.SAFETENSORS,
            stop_s=30.0,
        )

    def request(self, setup: Setup) -> RequestSpec:
        return RequestSpec(dialect=Dialect.OPENAI_CHAT)

    def deviations(self, setup: Setup) -> tuple[Deviation, ...]:
        return deviations(_settings(setup))

    def prefix_cache(self, build: Build) -> PrefixCache:
        return PrefixCache(default_on=False)

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


def _settings(setup: Setup) -> tuple[Setting, ...]:
    named = Setting(
        words=("--backend", "turbomind"),
        reason="the engine's default, named because it falls back to PyTorch without a word",
        source=Source(text="lmdeploy/archs.py:10 autoget_backend"),
    )
    if setup.profile is not Profile.MATCHED:
        return (named, *_prefix_caching(setup))
    matched = MATCHED[setup.build.accelerator]
    same = (
        *("--dtype", matched.dtype, "--max-batch-size", str(matched.max_sequences)),
        *("--session-len", str(matched.sequence_tokens)),
    )
    alike = Setting(words=same, reason="profile matched: the same on every engine")
    return (named, alike, *_prefix_caching(setup))


def _prefix_caching(setup: Setup) -> tuple[Setting, ...]:
    asked = setup.prefix_caching
    by_profile = asked is PrefixCaching.PROFILE and setup.profile is Profile.MATCHED
    if asked is not PrefixCaching.ON and not by_profile:
        return ()
    reason = "profile matched: the same on every engine" if by_profile else "prefix caching on, as asked"
    return (Setting(words=("--enable-prefix-caching",), reason=reason),)
