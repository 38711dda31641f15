"""The methods by which a 16-bit checkpoint becomes a portable quantised one, and what running one needs.

Pure. Each tool lives in an environment of its own and is run by a small program of ours
(`dockerfiles/context/quantize_<tool>.py`) as one step, whose output is the new model's weights.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from pydantic import Field

from backends.contract import (
    Accelerator,
    Build,
    ImageSpec,
    ModelTraits,
    PackageSet,
    Quantization,
    Refusal,
    Source,
    SpecFile,
    StepSpec,
    Value,
)
from quantize import layouts
from quantize.layouts import Layout

CALIBRATION = "calibration.jsonl"
RECORD = "quantization-record.json"
SHARED_PROGRAM = "quantize_checkpoint.py"
GIB = 2**30

_TORCH = {
    Accelerator.CPU: PackageSet(lock="vllm-cpu-torch.txt", index_url="https://download.pytorch.org/whl/cpu"),
    Accelerator.CUDA: PackageSet(lock="quantize-torch-cuda.txt"),
}
# Triton compiles its launcher at first use
_SYSTEM = {Accelerator.CPU: ("libgomp1",), Accelerator.CUDA: ("libgomp1", "gcc", "libc6-dev", "python3-dev")}
_INSTALL_BYTES = {Accelerator.CPU: 2 * GIB, Accelerator.CUDA: 8 * GIB}


class Tool(Value):
    """A maintained quantiser at a pinned version. `id` names its program, its template and its lock."""

    id: str
    title: str
    version: str
    system_packages: tuple[str, ...] = ()
    source: Source

    @property
    def program(self) -> str:
        return f"quantize_{self.id}.py"

    def build(self, accelerator: Accelerator) -> Build:
        return Build(
            release=self.version,
            accelerator=accelerator,
            version=f"{self.title} {self.version}",
            base="debian:bookworm-slim",
            packages=(_TORCH[accelerator], PackageSet(lock=f"quantize-{self.id}.txt")),
            system_packages=(*_SYSTEM[accelerator], *self.system_packages),
            context=(self.program, SHARED_PROGRAM),
            python=(3, 11),
            max_python=(3, 11),
            install_bytes=_INSTALL_BYTES[accelerator],
            source=self.source,
        )

    def image(self, accelerator: Accelerator) -> ImageSpec:
        return ImageSpec(
            name=f"quantize-{self.id}",
            release=self.version,
            template=f"quantize/{self.id}.Dockerfile.j2",
            build=self.build(accelerator),
        )


class Method(Value):
    """One way to quantise. `makes` is what an engine has to load: which engines do, their builds say. Every
    method also runs on a CPU, seen with small models; a large one takes too long there.
    """

    id: str
    title: str
    tool: Tool
    makes: Quantization
    bits: int
    calibrated: bool = True


class Example(Value):
    """One calibration text: what a user says and, where it is known, the reply."""

    prompt: str = Field(min_length=1)
    response: str = ""


class Settings(Value):
    """What a calibration is drawn from. `tokens` is the limit of each text."""

    seed: int = 0
    samples: int = Field(default=128, ge=1)
    tokens: int = Field(default=512, ge=1)


DEFAULT_SETTINGS = Settings()


GPTQMODEL = Tool(
    id="gptqmodel",
    title="GPTQModel",
    version="7.7.0",
    system_packages=("libpcre2-8-0",),  # pypcre, which is built from source, is linked with it
    source=Source(text="https://pypi.org/project/GPTQModel/7.7.0/"),
)
LLM_COMPRESSOR = Tool(
    id="llmcompressor",
    title="llm-compressor",
    version="0.14.0.1",
    source=Source(text="https://pypi.org/project/llmcompressor/0.14.0.1/"),
)
MODELOPT = Tool(
    id="modelopt",
    title="Model Optimizer",
    version="0.47.0",
    source=Source(text="https://pypi.org/project/nvidia-modelopt/0.47.0/"),
)

METHODS = {
    method.id: method
    for method in (
        Method(
            id="awq",
            title="AWQ 4-bit, AutoAWQ layout",
            tool=GPTQMODEL,
            makes=Quantization.AWQ,
            bits=4,
        ),
        Method(
            id="gptq",
            title="GPTQ 4-bit",
            tool=GPTQMODEL,
            makes=Quantization.GPTQ,
            bits=4,
        ),
        Method(
            id="w4a16",
            title="GPTQ 4-bit, compressed-tensors",
            tool=LLM_COMPRESSOR,
            makes=Quantization.W4A16,
            bits=4,
        ),
        Method(
            id="fp8",
            title="FP8 (E4M3), compressed-tensors",
            tool=LLM_COMPRESSOR,
            makes=Quantization.FP8,
            bits=8,
            calibrated=False,
        ),
        Method(
            id="int4_awq",
            title="AWQ 4-bit, Model Optimizer's form",
            tool=MODELOPT,
            makes=Quantization.MODELOPT_INT4,
            bits=4,
        ),
    )
}
LAYOUTS: dict[str, Layout] = {
    "awq": layouts.AUTOAWQ_GEMM,
    "gptq": layouts.GPTQ,
    "w4a16": layouts.PACK_QUANTIZED,
    "fp8": layouts.FLOAT_QUANTIZED,
    "int4_awq": layouts.MODELOPT_INT4_AWQ,
}

# Estimates for the plan, not measured on a GPU: a 70B model took its authors hours on one
_DEADLINE_S = 1800.0
_S_PER_GB = 120.0
_ROOM_BYTES = 6 * GIB  # the interpreter, torch, and the activations of the calibration texts


def refuses(method: Method, model: ModelTraits) -> Refusal | None:
    """None where the method can start from that model."""
    if model.quantization is not Quantization.NONE:
        return Refusal(
            reason=f"{model.id} is quantised already ({model.quantization.value})",
            alternative="a 16-bit model",
        )
    if model.architecture != "LlamaForCausalLM":
        return Refusal(reason=f"{method.id} was built for Llama models, {model.id} is {model.architecture}")
    return None


def step(
    method: Method, model: ModelTraits, accelerator: Accelerator, settings: Settings = DEFAULT_SETTINGS
) -> StepSpec:
    """How to quantise a model that `refuses` let pass, but for its calibration texts (`calibrated`)."""
    return StepSpec(
        id="quantize",
        title=f"{model.id}: {method.title}, by {method.tool.title} {method.tool.version}",
        argv=(
            *("python3", f"{{files}}/{method.tool.program}", "{model}", f"{{config}}/{CALIBRATION}", "{out}"),
            *("--method", method.id, "--seed", str(settings.seed)),
            *("--samples", str(settings.samples), "--tokens", str(settings.tokens)),
        ),
        env=_environment(accelerator),
        shared_memory_bytes=GIB,
        image=method.tool.image(accelerator),
        gpu=accelerator is Accelerator.CUDA,
        deadline_s=_DEADLINE_S + _S_PER_GB * model.weights_bytes / 1e9,
        memory_bytes=2 * model.weights_bytes + _ROOM_BYTES,
        output_bytes=quantised_bytes(method, model),
        produces=("config.json", "tokenizer.json", "*.safetensors", RECORD),
    )


def calibrated(asked: StepSpec, examples: Iterable[Example]) -> StepSpec:
    """The step with the texts that it draws from, one JSON object a line."""
    lines = [json.dumps(example.model_dump(), ensure_ascii=False) for example in examples]
    file = SpecFile(path=CALIBRATION, text="".join(f"{line}\n" for line in lines))
    return asked.model_copy(update={"files": (file,)})


def quantised_bytes(method: Method, model: ModelTraits) -> int:
    """An estimate from above: embeddings and head stay in 16 bits, groups have scales and zeros."""
    return min(model.weights_bytes, round(model.weights_bytes * (method.bits + 2) / 16))


def _environment(accelerator: Accelerator) -> dict[str, str]:
    """No egress. One thread on a CPU: OpenMP's threads wait spinning, and sums keep one order."""
    quiet = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "TOKENIZERS_PARALLELISM": "false"}
    return quiet | ({"OMP_NUM_THREADS": "1"} if accelerator is Accelerator.CPU else {})
