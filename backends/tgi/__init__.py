"""Hugging Face's Text Generation Inference, on CUDA."""

from __future__ import annotations

from backends.contract import (
    COMMON_FAILURES,
    OPENAI_CLIENT,
    SERVING_LAYER,
    Backend,
    Build,
    Column,
    Deviation,
    FailureSignature,
    MetricsMap,
    Mount,
    OptionsRef,
    PrefixCache,
    Printed,
    Profile,
    Quantization,
    Readback,
    ReadySpec,
    Refusal,
    RequestSpec,
    ServeSpec,
    Setting,
    Setup,
    Source,
    WeightsFormat,
    deviations,
    fields,
    matched,
    prefix_switch,
    unserved,
    variables,
    words,
)
from backends.tgi.releases import RELEASES
from backends.tgi.terms import FAILURES, METRICS, TERMS, Terms

_ONE_SHARD = Setting(
    words=("--num-shard", "1"),
    reason="one GPU; by itself it counts the GPUs that environment variables name",
    source=Source(text="TGI v2.0.4 launcher/src/main.rs find_num_shards"),
)
_SECOND_HOP = Setting(
    unmet="a second HTTP hop through the OpenAI client",
    reason="the service called the launcher's chat route through AsyncOpenAI, a Python client per chunk",
    source=Source(text="bentoml/BentoTGI at db84f9b: llama-3-8b-instruct/service.py"),
)
_TWO_BEGINS = Setting(
    unmet="begin-of-text twice",
    reason="the chat route's template and tokenizer each put one; here a prompt has one",
    source=Source(text="TGI v2.0.4 router/src/infer.rs, server/.../flash_causal_lm.py"),
)


class Tgi(Backend):
    name = "tgi"
    title = "TGI"
    held = OPENAI_CLIENT
    printed = Printed(
        quantization="AWQ, GPTQ, bits-and-bytes",
        hardware="CUDA, ROCm, Gaudi, Inferentia",
        releases="stable ones",
        compile_step="none",
        effort="easy",
        differs={
            Column.QUANTIZATION: "2.0.4 takes EETQ and FP8 at load too",
        },
    )
    releases = RELEASES

    def supports(self, setup: Setup) -> Refusal | None:
        return unserved(self.title, setup)

    def serve(self, setup: Setup) -> ServeSpec:
        terms, settings = _terms(setup.build), _settings(setup)
        # the launcher itself: 2.0.4's entry script would keep SIGTERM from it
        argv = (
            "text-generation-launcher",
            "--model-id",
            "{model}",
            "--hostname",
            "{bind}",
            "--port",
            "{port}",
        )
        return ServeSpec(
            argv=(*argv, *words(settings)),
            options=OptionsRef(name=terms.options, start=1),
            env={**terms.env, **variables(settings)},
            port=80,
            shared_memory_bytes=2 * 2**30,
            writable=(Mount.TMP, Mount.CACHE),
            read_only_root=False,
            user=None,
            weights=WeightsFormat.SAFETENSORS,
            stop_s=terms.stop_s,
        )

    def request(self, setup: Setup) -> RequestSpec:
        return _terms(setup.build).request.model_copy(update={"fields": fields(_settings(setup))})

    def deviations(self, setup: Setup) -> tuple[Deviation, ...]:
        return deviations(_settings(setup))

    def prefix_cache(self, build: Build) -> PrefixCache:
        return _terms(build).cache

    def ready(self, build: Build) -> ReadySpec:
        """It binds after warm-up. Its list of models, where it has one, names the weights' path."""
        fatal = (r"Shard \d+ failed to start", r"ShardCannotStart", r"Webserver Crashed")
        return ReadySpec(health_path="/health", models_path=None, deadline_s=1800, fatal=fatal)

    def metrics(self, build: Build) -> MetricsMap | None:
        return METRICS

    def readbacks(self, build: Build) -> tuple[Readback, ...]:
        return _terms(build).readbacks

    def failures(self, build: Build) -> tuple[FailureSignature, ...]:
        return (*FAILURES, *COMMON_FAILURES)


def _terms(build: Build) -> Terms:
    return TERMS[build.release]


def _settings(setup: Setup) -> tuple[Setting, ...]:
    terms = _terms(setup.build)
    by_profile = {Profile.MATCHED: _alike, Profile.PUBLISHED: _published}
    own = by_profile[setup.profile](setup) if setup.profile in by_profile else ()
    on, off = (Setting(env=("PREFIX_CACHING", value), reason=value) for value in ("1", "0"))
    switch = prefix_switch(setup, terms.cache, on=on, off=off)
    return (_ONE_SHARD, *own, *switch)


def _alike(setup: Setup) -> tuple[Setting, ...]:
    same = matched(setup)
    flags = (
        *("--max-batch-size", str(same.max_sequences), "--max-concurrent-requests", str(same.max_sequences)),
        *(
            "--max-total-tokens",
            str(same.sequence_tokens),
            "--max-input-tokens",
            str(same.sequence_tokens - 1),
        ),
        # with compressed weights it refuses a dtype
        *(("--dtype", same.dtype) if setup.model.quantization is Quantization.NONE else ()),
    )
    return (
        Setting(words=flags, reason="profile matched: the same on every engine"),
        Setting(
            unmet=f"a KV budget of {same.kv_tokens} tokens",
            reason="for such models --max-batch-total-tokens is ignored: the pool is what warm-up finds",
            source=Source(text="TGI v2.0.4 router/src/main.rs:336-347; v3.3.7 backends/v3/src/lib.rs:85-97"),
        ),
    )


def _published(setup: Setup) -> tuple[Setting, ...]:
    """The services started the launcher with nothing but the weights."""
    return (*_terms(setup.build).sampled, _TWO_BEGINS, _SECOND_HOP, SERVING_LAYER)
