"""LMDeploy with the TurboMind engine, on CUDA only."""

from __future__ import annotations

from backends.contract import (
    COMMON_FAILURES,
    IN_PROCESS,
    Backend,
    Build,
    Deviation,
    FailureSignature,
    MetricsMap,
    Mount,
    OptionsRef,
    PrefixCache,
    Printed,
    Quantization,
    Readback,
    ReadySpec,
    Refusal,
    RequestSpec,
    ServeSpec,
    Setup,
    StepSpec,
    WeightsFormat,
    deviations,
    fields,
    unserved,
    words,
)
from backends.lmdeploy import awq
from backends.lmdeploy.releases import RELEASES
from backends.lmdeploy.settings import FLOAT16, resaved, settings
from backends.lmdeploy.terms import FAILURES, TERMS, Terms

_LLAMA_3 = ("llama-3-", "llama3-")
_FORMATS = {
    Quantization.AWQ: "awq",
    Quantization.INT4_AWQ: "awq",
    Quantization.GPTQ: "gptq",
    Quantization.W4A16: "compressed-tensors",
}


class Lmdeploy(Backend):
    name = "lmdeploy"
    title = "LMDeploy"
    held = IN_PROCESS
    printed = Printed(
        quantization="4-bit AWQ, 8-bit, 4-bit KV",
        hardware="CUDA only",
        releases="stable ones",
        compile_step="none: converts on the fly",
        effort="easy; few models with a sliding window",
    )
    releases = RELEASES

    def supports(self, setup: Setup) -> Refusal | None:
        return unserved(self.title, setup) or _nameless(setup)

    def steps(self, setup: Setup) -> tuple[StepSpec, ...]:
        """Where there is no dtype flag, only a float16 checkpoint runs as float16."""
        if awq.quantised_here(setup):
            return (awq.quantize(setup),)
        if not resaved(setup):
            return ()
        folder = setup.model.folder
        return (
            StepSpec(
                id=FLOAT16,
                title="save the weights again as float16, as the article's service had",
                argv=("python3", "{files}/save_as_float16.py", "{model}", f"{{out}}/{folder}"),
                produces=(f"{folder}/config.json", f"{folder}/*.safetensors"),
                deadline_s=1800,
                output_bytes=setup.model.weights_bytes,
                memory_bytes=2**30,
                user=None,
            ),
        )

    def serve(self, setup: Setup) -> ServeSpec:
        model, terms = setup.model, _terms(setup.build)
        made = self.steps(setup)
        weights = f"{{step:{made[-1].id}}}/{model.folder}" if made else "{model}"
        scheme = _FORMATS.get(model.quantization)
        argv = (
            *("lmdeploy", "serve", "api_server", weights, "--model-name", model.served_name),
            *("--server-name", "{bind}", "--server-port", "{port}"),
            *(("--model-format", scheme) if scheme else ()),
            *words(settings(setup)),
        )
        return ServeSpec(
            argv=argv,
            options=OptionsRef(name=terms.options, start=3),
            env={"HF_HUB_OFFLINE": "1", "HF_HOME": f"{Mount.CACHE.value}/huggingface"},
            port=23333,
            shared_memory_bytes=16 * 2**30,
            ulimits=terms.ulimits,
            writable=(Mount.TMP, Mount.CACHE),
            read_only_root=False,
            user=None,
            weights=WeightsFormat.SAFETENSORS,
            stop_s=30.0,
        )

    def request(self, setup: Setup) -> RequestSpec:
        terms = _terms(setup.build)
        return RequestSpec(dialect=terms.dialect, refused=terms.refused, fields=fields(settings(setup)))

    def deviations(self, setup: Setup) -> tuple[Deviation, ...]:
        made = awq.quantising(setup) if awq.quantised_here(setup) else ()
        return deviations((*made, *settings(setup)))

    def prefix_cache(self, build: Build) -> PrefixCache:
        return _terms(build).cache

    def ready(self, build: Build) -> ReadySpec:
        return _terms(build).ready

    def metrics(self, build: Build) -> MetricsMap | None:
        return _terms(build).metrics

    def readbacks(self, build: Build) -> tuple[Readback, ...]:
        return _terms(build).readbacks

    def failures(self, build: Build) -> tuple[FailureSignature, ...]:
        return (*FAILURES, *COMMON_FAILURES)


def _terms(build: Build) -> Terms:
    return TERMS[build.release]


def _nameless(setup: Setup) -> Refusal | None:
    """Llama 3's template is found by the folder's name, and nothing else can be served under our name."""
    folder = setup.model.folder
    if not _terms(setup.build).template_by_folder or any(mark in folder.lower() for mark in _LLAMA_3):
        return None
    version = setup.build.version
    return Refusal(
        reason=f"{version} finds Llama 3's chat template by the weights' folder, not by {folder!r}"
    )
