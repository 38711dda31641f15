"""SGLang, on CUDA. Its CPU build is a hack of wheels (no sgl-kernel for CPUs is published) and is left out."""

from __future__ import annotations

from backends.contract import (
    COMMON_FAILURES,
    Accelerator,
    Backend,
    Build,
    Deviation,
    Dialect,
    Facts,
    FailureCause,
    FailureSignature,
    Gauge,
    MetricsMap,
    Mount,
    OptionsRef,
    PrefixCache,
    Profile,
    Quantization,
    Readback,
    ReadySpec,
    Refusal,
    Release,
    RequestField,
    RequestSpec,
    ServeSpec,
    Setting,
    Setup,
    Source,
    WeightsFormat,
    deviations,
    loads,
    matched,
    prefix_switch,
    unserved,
    variables,
    words,
)

_CUDA = Build(
    release="current",
    accelerator=Accelerator.CUDA,
    version="0.5.23",
    base="lmsysorg/sglang:v0.5.23",
    formats=(WeightsFormat.SAFETENSORS,),
    serves=(
        *loads((7, 5), Quantization.NONE, Quantization.AWQ, Quantization.GPTQ),
        *loads((8, 0), Quantization.W4A16, Quantization.FP8),  # below 8.9 only the weights are FP8
    ),
    install_bytes=30 * 2**30,
    source=Source(text="SGLang 0.5.23: the image's tag follows other projects' recipes", verified=False),
)
_FACTS = Facts(
    quantization="AWQ, GPTQ, FP8, compressed-tensors, modelopt, MXFP4, bits-and-bytes, GGUF; 8-bit KV",
    hardware="CUDA, ROCm, XPU, Ascend, CPU with AMX",
    releases="every week or two",
    compile_step="none (CUDA graphs at start; kernels compiled on first use, cached)",
    prefix_cache="on (radix tree); --disable-radix-cache; emptied by POST /flush_cache while nothing runs",
    defaults="requests and KV pool derived from the memory at start; dtype of the checkpoint; chunked prefill on",
    stop="drains all running requests, looking every 5 s",
    figures="with --enable-metrics: running, waiting, KV use, tokens, TTFT and ITL histograms",
    sources=(
        Source(text="SGLang 0.5.23 wheel: srt/entrypoints/http_server.py:714, 863, 1025"),
        Source(text="SGLang 0.5.23 wheel: srt/managers/tokenizer_manager.py:3508-3526 (SIGTERM)"),
        Source(
            text="SGLang 0.5.23 wheel: get_min_capability of each scheme; observability/metrics_collector.py"
        ),
        Source(text="compute capability for 16 bits; no CUDA build of it was run", verified=False),
    ),
)
_CACHE = PrefixCache(default_on=True, reset_path="/flush_cache")
_FIGURES = Setting(words=("--enable-metrics",), reason="the engine's own figures are followed")


class Sglang(Backend):
    name = "sglang"
    title = "SGLang"
    releases = (
        Release(
            id="current",
            date="2026-11",
            builds=(_CUDA,),
            facts=_FACTS,
            notes=(
                "Not one of the article's five engines: there is no `published` profile and no 2024 release.",
            ),
        ),
    )

    def supports(self, setup: Setup) -> Refusal | None:
        return unserved(self.title, setup)

    def serve(self, setup: Setup) -> ServeSpec:
        settings = _settings(setup)
        argv = (
            *("python3", "-m", "sglang.launch_server", "--model-path", "{model}"),
            *("--served-model-name", setup.model.served_name, "--host", "{bind}", "--port", "{port}"),
            *words(settings),
        )
        cache = Mount.CACHE.value
        return ServeSpec(
            argv=argv,
            options=OptionsRef(name="sglang-0.5.23", start=3),
            env={
                "HF_HUB_OFFLINE": "1",
                "HF_HOME": f"{cache}/huggingface",
                "SGLANG_CACHE_DIR": f"{cache}/sglang",
                **variables(settings),
            },
            port=30000,
            shared_memory_bytes=32 * 2**30,
            writable=(Mount.TMP, Mount.CACHE),
            read_only_root=False,
            user=None,
            weights=WeightsFormat.SAFETENSORS,
            stop_s=60.0,
        )

    def request(self, setup: Setup) -> RequestSpec:
        """A seed is ignored unless it runs in its slower, deterministic mode."""
        return RequestSpec(dialect=Dialect.OPENAI_CHAT, refused=(RequestField.SEED,))

    def deviations(self, setup: Setup) -> tuple[Deviation, ...]:
        return deviations(_settings(setup))

    def prefix_cache(self, build: Build) -> PrefixCache:
        return _CACHE

    def ready(self, build: Build) -> ReadySpec:
        """/health would generate a token each time it is asked."""
        fatal = (r"Scheduler hit an exception", r"scheduler died during initialization")
        return ReadySpec(health_path="/ready", deadline_s=1800, fatal=fatal)

    def metrics(self, build: Build) -> MetricsMap | None:
        names = {
            Gauge.RUNNING: "sglang:num_running_reqs",
            Gauge.WAITING: "sglang:num_queue_reqs",
            Gauge.KV_USE: "sglang:token_usage",
            Gauge.GENERATED_TOKENS: "sglang:generation_tokens_total",
            Gauge.PROMPT_TOKENS: "sglang:prompt_tokens_total",
        }
        return MetricsMap(path="/metrics", names=names)

    def readbacks(self, build: Build) -> tuple[Readback, ...]:
        logged = ("max_total_num_tokens", "max_running_requests", "context_len", "chunked_prefill_size")
        told = ("dtype", "attention_backend", "disable_radix_cache", "mem_fraction_static")
        return (
            *(Readback(name=name, pattern=rf"{name}=(\d+)") for name in logged),
            *(Readback(name=name, pattern=rf'"{name}":\s*"?([\w.]+)', path="/server_info") for name in told),
        )

    def failures(self, build: Build) -> tuple[FailureSignature, ...]:
        return (*_FAILURES, *COMMON_FAILURES)


def _settings(setup: Setup) -> tuple[Setting, ...]:
    on, off = Setting(reason="on"), Setting(words=("--disable-radix-cache",), reason="off")
    switch = prefix_switch(setup, _CACHE, on=on, off=off)
    if setup.profile is not Profile.MATCHED:
        return (_FIGURES, *switch)
    same = matched(setup)
    flags = (
        *("--dtype", same.dtype, "--max-running-requests", str(same.max_sequences)),
        *("--context-length", str(same.sequence_tokens), "--max-total-tokens", str(same.kv_tokens)),
    )
    return (_FIGURES, Setting(words=flags, reason="profile matched: the same on every engine"), *switch)


_FAILURES = tuple(
    FailureSignature(pattern=p, cause=c, hint=h)
    for p, c, h in (
        (
            r"Not enough memory\. Please try to increase --mem-fraction-static|Capture cuda graph failed",
            FailureCause.MEMORY_KV_CACHE,
            "no room for the KV cache beside weights and CUDA graphs: free memory, or take a smaller model",
        ),
        (
            r"Model architectures .* (are not supported for now|failed to be inspected)",
            FailureCause.UNSUPPORTED_ARCHITECTURE,
            "this release cannot run the model",
        ),
        (
            r"is not supported for the current GPU|is not supported for quantization method",
            FailureCause.BAD_FLAG,
            "dtype, quantisation and GPU do not go together; the log names what does",
        ),
        (
            r"Cannot find any model weights|does not appear to have a file named",
            FailureCause.MODEL_FILES,
            "the model's files are missing or broken; remove its folder in the cache and try again",
        ),
    )
)
