"""TensorRT-LLM 1.2.1: `trtllm-serve` on the PyTorch backend, nothing to build (reference/backends-current.md, 4)."""

from __future__ import annotations

from backends.contract import (
    COMMON_FAILURES,
    Backend,
    Build,
    Deviation,
    Dialect,
    FailureSignature,
    MetricsMap,
    Mount,
    OptionsRef,
    PrefixCache,
    Quantization,
    Readback,
    ReadySpec,
    Refusal,
    RequestSpec,
    ServeSpec,
    Setup,
    SpecFile,
    StepSpec,
    WeightsFormat,
    deviations,
    fields,
    unserved,
    words,
)
from backends.tensorrt_llm.messages import SERVE_FAILURES
from backends.tensorrt_llm.modelopt import no_room, quantize, quantizing
from backends.tensorrt_llm.releases import SERVE_RELEASE, ULIMITS
from backends.tensorrt_llm.serve_settings import CACHE, asked, flags, text, yaml

RELEASE = SERVE_RELEASE


class Serve(Backend):
    name = "tensorrt-llm"
    title = "TensorRT-LLM 1.2.1"
    releases = (RELEASE,)

    def supports(self, setup: Setup) -> Refusal | None:
        if setup.model.quantization is Quantization.AWQ:
            reason = f"that {self.title} loads AutoAWQ's layout is unverified: modelopt's own is taken"
            return Refusal(reason=reason, alternative="MODEL=8b, MODEL=70b-int4-awq or MODEL=70b-4bit")
        return unserved(self.title, setup) or no_room(setup)

    def steps(self, setup: Setup) -> tuple[StepSpec, ...]:
        return (quantize(setup),) if setup.model.quantization is Quantization.INT4_AWQ else ()

    def serve(self, setup: Setup) -> ServeSpec:
        weights = "{step:quantize}" if self.steps(setup) else "{model}"
        argv = ("trtllm-serve", weights, "--host", "{bind}", "--port", "{port}", *words(flags(setup)))
        entered = yaml(setup)
        caches = {
            "TORCHINDUCTOR_CACHE_DIR": "inductor",
            "TRITON_CACHE_DIR": "triton",
            "CUDA_CACHE_PATH": "cuda",
        }
        return ServeSpec(
            argv=(*argv, *(("--extra_llm_api_options", "{config}/llm.yaml") if entered else ())),
            options=OptionsRef(name="tensorrt-llm-1.2.1", start=1),
            env={
                "HF_HUB_OFFLINE": "1",
                "TRTLLM_NO_USAGE_STATS": "1",
                **{name: f"{Mount.CACHE.value}/{folder}" for name, folder in caches.items()},
            },
            files=(SpecFile(path="llm.yaml", text=text(entered)),) if entered else (),
            port=8000,
            shared_memory_bytes=16 * 2**30,
            ulimits=ULIMITS,
            writable=(Mount.TMP, Mount.CACHE),
            read_only_root=False,
            user=None,
            weights=WeightsFormat.SAFETENSORS,
            stop_s=60.0,
        )

    def request(self, setup: Setup) -> RequestSpec:
        """An unknown field is answered with 400; all that the client sends are known."""
        return RequestSpec(dialect=Dialect.OPENAI_CHAT, fields=fields(asked(setup)))

    def deviations(self, setup: Setup) -> tuple[Deviation, ...]:
        made = quantizing() if setup.model.quantization is Quantization.INT4_AWQ else ()
        return deviations((*made, *flags(setup), *yaml(setup), *asked(setup)))

    def ready(self, build: Build) -> ReadySpec:
        """Its list names the folder, not a name of ours."""
        return ReadySpec(health_path="/health", models_path=None, deadline_s=1800)

    def prefix_cache(self, build: Build) -> PrefixCache:
        return CACHE

    def metrics(self, build: Build) -> MetricsMap | None:
        """Its Prometheus page counts neither requests that run or wait nor tokens before 1.3; its JSON page is
        drained by whoever reads it first."""
        return None

    def readbacks(self, build: Build) -> tuple[Readback, ...]:
        """The log's wording was not seen on a GPU: what is not found is not shown."""
        return (
            Readback(name="max_batch_size", pattern=r"max_batch_size[=:] ?(\d+)"),
            Readback(name="prefix_caching", pattern=r"enable_block_reuse[=:] ?(\w+)"),
            Readback(name="kv_tokens", pattern=r"[Mm]ax tokens in paged KV cache: (\d+)"),
        )

    def failures(self, build: Build) -> tuple[FailureSignature, ...]:
        return (*SERVE_FAILURES, *COMMON_FAILURES)
