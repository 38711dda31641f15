"""llama.cpp's HTTP server: out of the prebuilt `xllamacpp` wheel on the CPU, as the project's image on CUDA.

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
    FailureSignature,
    Gauge,
    ImageSpec,
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
    StepSpec,
    WeightsFormat,
    deviations,
    words,
)
from backends.llama_cpp.releases import CONVERTER, CPU, CUDA, FACTS, FAILURES, SERVER_SOURCE


class LlamaCpp(Backend):
    name = "llama-cpp"
    title = "llama.cpp"
    releases = (Release(id="current", date="2026-10", builds=(CPU, CUDA), facts=FACTS),)

    def supports(self, setup: Setup) -> Refusal | None:
        if WeightsFormat.GGUF in setup.model.formats or _is_converted(setup):
            return None
        served = "MODEL=8b" if setup.build.accelerator is Accelerator.CUDA else "MODEL=tiny"
        return Refusal(
            reason=f"{self.title} reads GGUF only, and {setup.model.id} has none",
            alternative=f"MODEL=small or {served}, or another backend",
        )

    def steps(self, setup: Setup) -> tuple[StepSpec, ...]:
        return (_convert(setup),) if _is_converted(setup) else ()

    def serve(self, setup: Setup) -> ServeSpec:
        on_cpu = setup.build.accelerator is Accelerator.CPU
        program = ("python3", "{files}/llama_cpp_server.py") if on_cpu else ("/app/llama-server",)
        weights = "{step:convert}" if _is_converted(setup) else "{model}"
        argv = (
            *(*program, "--model", f"{weights}/model.gguf"),
            *("--alias", setup.model.served_name, "--host", "{bind}", "--port", "{port}"),
            *words(_settings(setup)),
        )
        return ServeSpec(
            argv=argv,
            options=OptionsRef(
                name="xllamacpp-2026.10.11549" if on_cpu else "llama.cpp-0c1e57098", start=len(program)
            ),
            port=8080,
            weights=WeightsFormat.SAFETENSORS if _is_converted(setup) else WeightsFormat.GGUF,
            stop_s=5.0,
        )

    def request(self, setup: Setup) -> RequestSpec:
        return RequestSpec(dialect=Dialect.OPENAI_CHAT)

    def deviations(self, setup: Setup) -> tuple[Deviation, ...]:
        return deviations((*(_converting() if _is_converted(setup) else ()), *_settings(setup)))

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
        return (*FAILURES, *COMMON_FAILURES)


def _settings(setup: Setup) -> tuple[Setting, ...]:
    """`defaults`: llama-server's own 4 slots over one KV cache of the model's context length."""
    spinning = (
        "as many as the engine has CPUs; spinning on the load client's too was measured 4 to 8 times slower"
    )
    shortened = (
        "requests state temperature and top_p; by its own top_k 40 and min_p 0.05 this engine would "
        "answer in 94 tokens where another gives 154"
    )
    threads = Setting(words=("--threads", str(setup.host.cpus)), reason=spinning)
    whole = "all layers on the GPU, or none at all: the default would leave what does not fit to the CPU"
    layers = Setting(words=("--n-gpu-layers", "999", "--fit", "off"), reason=whole)
    found: tuple[Setting, ...] = (
        threads if setup.build.accelerator is Accelerator.CPU else layers,
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
    return (*found, Setting(words=slots, reason=reason, source=SERVER_SOURCE))


def _is_converted(setup: Setup) -> bool:
    """A GPU serves models that come as safetensors only; the image with the converter is asked for these."""
    model = setup.model
    return (
        setup.build.accelerator is Accelerator.CUDA
        and WeightsFormat.GGUF not in model.formats
        and WeightsFormat.SAFETENSORS in model.formats
        and model.quantization is Quantization.NONE
    )


def _convert(setup: Setup) -> StepSpec:
    """The server's image lacks the converter, the project's "full" image has it; it needs no GPU."""
    template = "llama-cpp-convert.Dockerfile.j2"
    places = ("{model}", "--outfile", "{out}/model.gguf")
    return StepSpec(
        id="convert",
        title=f"the weights of {setup.model.id} as GGUF",
        image=ImageSpec(
            name="llama-cpp-convert", release=CONVERTER.release, template=template, build=CONVERTER
        ),
        argv=("python3", "/app/convert_hf_to_gguf.py", *places, *words(_converting())),
        env={"HF_HUB_OFFLINE": "1", "HOME": Mount.TMP.value},
        produces=("model.gguf",),
        deadline_s=3600,
        output_bytes=setup.model.weights_bytes,
        memory_bytes=4 * 2**30,
    )


def _converting() -> tuple[Setting, ...]:
    why = "16 bits in float16, as every other engine has them; by default the checkpoint's bfloat16 stays"
    return (Setting(words=("--outtype", "f16"), reason=why),)
