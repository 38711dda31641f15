"""TensorRT-LLM 0.9.0 under Triton 24.04: convert or quantise, build, serve (reference/backends-2024.md, 5)."""

from __future__ import annotations

from backends.contract import (
    COMMON_FAILURES,
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
    Quantization,
    Readback,
    ReadySpec,
    Refusal,
    RequestField,
    RequestSpec,
    ServeSpec,
    Setup,
    StepSpec,
    Template,
    WeightsFormat,
    deviations,
    entries,
    fields,
    unserved,
    words,
)
from backends.tensorrt_llm import repository
from backends.tensorrt_llm.messages import TRITON_FAILURES
from backends.tensorrt_llm.pipeline import ENV, convert, engine, no_room, quantize
from backends.tensorrt_llm.releases import PROGRAMS, TRITON_RELEASE, ULIMITS
from backends.tensorrt_llm.triton_settings import (
    batch,
    building,
    converting,
    parameters,
    quantizing,
    requesting,
    serving,
    whole,
)

RELEASE = TRITON_RELEASE
_REPOSITORY = f"{Mount.TMP.value}/repository"


class Triton(Backend):
    name = "tensorrt-llm"
    title = "TensorRT-LLM 0.9.0"
    releases = (RELEASE,)

    def image(self, build: Build) -> ImageSpec:
        template = "tensorrt-llm-triton.Dockerfile.j2"
        return ImageSpec(name=self.name, release=build.release, template=template, build=build)

    def supports(self, setup: Setup) -> Refusal | None:
        if setup.model.quantization is Quantization.AWQ:
            reason = f"{self.title} takes no AutoAWQ checkpoint, only INT4 AWQ of its own (70b-int4-awq)"
            return Refusal(reason=reason, alternative="MODEL=8b")
        return unserved(self.title, setup) or no_room(self.title, setup)

    def steps(self, setup: Setup) -> tuple[StepSpec, ...]:
        return (convert(setup) if whole(setup) else quantize(setup), engine(setup))

    def serve(self, setup: Setup) -> ServeSpec:
        """The repository is put together where it is served, for its files name folders of that place."""
        linked = [f"{name}/config.pbtxt={{config}}/{name}.pbtxt" for name in repository.MODELS]
        linked += [f"{name}/1={PROGRAMS}/{name}/1" for name in ("preprocessing", "postprocessing")]
        before = (
            *("python3", "{files}/assembled.py", _REPOSITORY, *linked, "ensemble/1/", "tensorrt_llm/1/"),
            *("exec", "mpirun", "-n", "1", "/opt/tritonserver/bin/tritonserver"),
        )
        argv = (
            *("--model-repository", _REPOSITORY, "--http-address", "{bind}", "--http-port", "{port}"),
            *words(serving()),
        )
        return ServeSpec(
            argv=(*before, *argv),
            options=OptionsRef(name="tritonserver-2.45.0", start=len(before)),
            env=ENV | {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"},
            files=repository.files(batch(setup), entries(parameters(setup))),
            port=8000,
            shared_memory_bytes=2 * 2**30,
            ulimits=ULIMITS,
            read_only_root=False,
            user=None,
            weights=WeightsFormat.SAFETENSORS,
            stop_s=40.0,
        )

    def request(self, setup: Setup) -> RequestSpec:
        return RequestSpec(
            dialect=Dialect.TENSOR_STREAM,
            template=Template.TEXT_WITH_BOS,
            refused=(RequestField.USAGE,),
            fields=fields(requesting(setup)),
        )

    def deviations(self, setup: Setup) -> tuple[Deviation, ...]:
        made = converting(setup) if whole(setup) else quantizing(setup)
        return deviations((*made, *building(setup), *serving(), *parameters(setup), *requesting(setup)))

    def ready(self, build: Build) -> ReadySpec:
        fatal = (r"failed to load all models",)
        return ReadySpec(health_path="/v2/health/ready", models_path=None, deadline_s=1800, fatal=fatal)

    def prefix_cache(self, build: Build) -> PrefixCache:
        return PrefixCache(default_on=False)

    def metrics(self, build: Build) -> MetricsMap | None:
        """What waits is active less scheduled, and no figure of its own; tokens are not counted."""
        names = {Gauge.RUNNING: 'nv_trt_llm_request_metrics{request_type="scheduled"}'}
        return MetricsMap(path="/metrics", names=names, port=8002)

    def readbacks(self, build: Build) -> tuple[Readback, ...]:
        config = "/v2/models/tensorrt_llm/config"
        reused = r'"enable_kv_cache_reuse":\{"string_value":"(\w+)"'
        return (
            Readback(name="max_batch_size", pattern=r'"max_batch_size":(\d+)', path=config),
            Readback(name="prefix_caching", pattern=reused, path=config),
            Readback(name="kv_tokens", pattern=r"[Mm]ax tokens in paged KV cache: (\d+)"),
        )

    def failures(self, build: Build) -> tuple[FailureSignature, ...]:
        return (*TRITON_FAILURES, *COMMON_FAILURES)
