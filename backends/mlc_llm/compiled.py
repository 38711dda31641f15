"""What both releases of MLC-LLM do alike: convert, configure, compile, and serve what came of it."""

from __future__ import annotations

from abc import abstractmethod

from backends.contract import (
    COMMON_FAILURES,
    Backend,
    Build,
    Deviation,
    FailureSignature,
    MetricsMap,
    Mount,
    OptionsRef,
    PrefixCache,
    Quantization,
    Readback,
    ReadySpec,
    Refusal,
    ServeSpec,
    Setting,
    Setup,
    StepSpec,
    WeightsFormat,
    deviations,
    unserved,
    words,
)
from backends.mlc_llm.messages import FAILURES, READBACKS
from backends.mlc_llm.settings import CACHE, compiling, configuring, converting, of_mlc

JOINED = f"{Mount.TMP.value}/model"


class Compiled(Backend):
    """A subclass names its option lists and its weights' index, and says what serving and requests are told."""

    name = "mlc-llm"
    lists: str
    index: str

    @abstractmethod
    def serving(self, setup: Setup) -> tuple[Setting, ...]:
        """Flags of `mlc_llm serve`."""

    @abstractmethod
    def requesting(self, setup: Setup) -> tuple[Setting, ...]:
        """Fields of the requests."""

    @abstractmethod
    def links(self, setup: Setup) -> tuple[str, ...]:
        """What the served folder is put together from; nothing where the weights' own folder will do."""

    def supports(self, setup: Setup) -> Refusal | None:
        """q4f16_autoawq exists in the tools, but was experimental to the article and is no scheme of MLC's
        own: its numbers would be compared with what the article ran, and are not."""
        if setup.model.quantization is Quantization.AWQ:
            reason = f"{self.title} is measured with weights in its own 4 bits, not with AutoAWQ's"
            return Refusal(reason=reason, alternative="MODEL=70b-q4f16_1 or MODEL=70b-4bit")
        return unserved(self.title, setup)

    def steps(self, setup: Setup) -> tuple[StepSpec, ...]:
        return (self._compile(setup),) if of_mlc(setup) else (*self._conversion(setup), self._compile(setup))

    def serve(self, setup: Setup) -> ServeSpec:
        """mlc_llm reads one folder, and a step writes one: they are joined where they are served."""
        links = self.links(setup)
        folder = JOINED if links else "{model}"
        before = ("python3", "{files}/assembled.py", JOINED, *links, "exec") if links else ()
        argv = (
            *(*before, "mlc_llm", "serve", folder, "--model-lib", "{step:compile}/lib.so"),
            *("--host", "{bind}", "--port", "{port}", *words(self.serving(setup))),
        )
        return ServeSpec(
            argv=argv,
            options=OptionsRef(name=f"mlc-llm-serve-{self.lists}", start=len(before) + 2),
            env=_env(),
            port=8000,
            shared_memory_bytes=2 * 2**30,
            writable=(Mount.TMP, Mount.CACHE),
            read_only_root=False,
            user=None,
            weights=WeightsFormat.MLC if of_mlc(setup) else WeightsFormat.SAFETENSORS,
            stop_s=30.0,
        )

    def deviations(self, setup: Setup) -> tuple[Deviation, ...]:
        made = () if of_mlc(setup) else (*converting(setup), *configuring(setup))
        return deviations((*made, *compiling(setup), *self.serving(setup), *self.requesting(setup)))

    def ready(self, build: Build) -> ReadySpec:
        """It lists the folder that it serves, not a name of ours."""
        fatal = (r"Insufficient GPU memory error",)
        return ReadySpec(health_path="/v1/models", models_path=None, deadline_s=1800, fatal=fatal)

    def prefix_cache(self, build: Build) -> PrefixCache:
        """/debug/reset_engine wants a body, and in 0.20 the debug mode."""
        return CACHE

    def metrics(self, build: Build) -> MetricsMap | None:
        """dev1251 has none; 0.20's page counts neither what runs nor what waits, and is not Prometheus'."""
        return None

    def readbacks(self, build: Build) -> tuple[Readback, ...]:
        return READBACKS

    def failures(self, build: Build) -> tuple[FailureSignature, ...]:
        return (*FAILURES, *COMMON_FAILURES)

    def _conversion(self, setup: Setup) -> tuple[StepSpec, ...]:
        return (
            self._step(
                "convert",
                f"the weights of {setup.model.id} in MLC's format",
                ("convert_weight", "{model}", "--output", "{out}", *words(converting(setup))),
                produces=("params_shard_*.bin", self.index),
                output_bytes=setup.model.served_bytes,
                memory_bytes=setup.model.served_bytes,
                portable=True,
            ),
            self._step(
                "config",
                f"the chat configuration of {setup.model.id}",
                ("gen_config", "{model}", "--output", "{out}", *words(configuring(setup))),
                produces=("mlc-chat-config.json", "tokenizer*"),
                output_bytes=20 * 2**20,
                portable=True,
            ),
        )

    def _compile(self, setup: Setup) -> StepSpec:
        config = ("{model}" if of_mlc(setup) else "{step:config}") + "/mlc-chat-config.json"
        return self._step(
            "compile",
            f"the library of {setup.model.id} for this type of GPU",
            ("compile", config, "--output", "{out}/lib.so", *words(compiling(setup))),
            produces=("lib.so",),
            output_bytes=200 * 2**20,
        )

    def _step(
        self,
        id: str,  # noqa: A002 - the contract's word
        title: str,
        command: tuple[str, ...],
        *,
        produces: tuple[str, ...],
        output_bytes: int,
        memory_bytes: int = 0,
        portable: bool = False,
    ) -> StepSpec:
        """Each asks for the GPU: the compiler's library does not load without a driver. What a compilation
        takes of the host's memory is not known."""
        return StepSpec(
            id=id,
            title=title,
            argv=("mlc_llm", *command),
            options=OptionsRef(name=f"mlc-llm-{command[0]}-{self.lists}", start=2),
            env=_env(),
            writable=(Mount.TMP, Mount.CACHE),
            read_only_root=False,
            user=None,
            gpu=True,
            portable=portable,
            produces=produces,
            deadline_s=3600,
            output_bytes=output_bytes,
            memory_bytes=memory_bytes,
        )


def _env() -> dict[str, str]:
    """MLC_CACHE_DIR became MLC_LLM_HOME a week after dev1251; what is compiled on demand is kept there."""
    cache = f"{Mount.CACHE.value}/mlc_llm"
    return {"HF_HUB_OFFLINE": "1", "MLC_CACHE_DIR": cache, "MLC_LLM_HOME": cache, "HOME": Mount.TMP.value}
