"""The methods by which a 16-bit checkpoint becomes a portable quantised one, and what running one needs.

Pure. Each tool lives in an environment of its own and is run by a small program of ours
(`dockerfiles/context/quantize_<tool>.py`); the orchestrator runs a `Work` as one of its steps.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from pydantic import Field

from backends.contract import Accelerator, Build, ImageSpec, ModelTraits, PackageSet, Refusal, Source, Value
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
            backend=f"quantize-{self.id}",
            release=self.version,
            template=f"quantize/{self.id}.Dockerfile.j2",
            build=self.build(accelerator),
        )


class Method(Value):
    """One way to quantise. `readers` are the backends whose loaders accept the result.

    `serve_capability` is what a GPU needs to compute with it natively. Every method also runs on a CPU, seen
    with small models; a large one takes too long there.
    """

    id: str
    title: str
    tool: Tool
    bits: int
    calibrated: bool = True
    readers: tuple[str, ...]
    serve_capability: tuple[int, int]


class Example(Value):
    """One calibration text: what a user says and, where it is known, the reply."""

    prompt: str = Field(min_length=1)
    response: str = ""


class Settings(Value):
    """What a calibration is drawn from. `tokens` is the limit of each text."""

    seed: int = 0
    samples: int = Field(default=128, ge=1)
    tokens: int = Field(default=512, ge=1)


class TextFile(Value):
    """A small file that a program finds in its {config} folder."""

    path: str
    text: str


class Work(Value):
    """What the orchestrator needs to run one quantisation.

    argv has placeholders: {model} is the folder of the 16-bit weights, {out} an empty one, {files} ours,
    {config} holds `files`. Every pattern of `produces` must match in {out} afterwards.
    """

    id: str
    title: str
    argv: tuple[str, ...]
    files: tuple[TextFile, ...]
    env: dict[str, str]
    image: ImageSpec
    gpu: bool
    deadline_s: float
    memory_bytes: int
    output_bytes: int
    produces: tuple[str, ...]


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
            bits=4,
            readers=("vllm", "sglang", "lmdeploy", "tgi", "mlc-llm"),
            serve_capability=(7, 5),
        ),
        Method(
            id="gptq",
            title="GPTQ 4-bit",
            tool=GPTQMODEL,
            bits=4,
            readers=("vllm", "sglang", "lmdeploy", "tgi"),
            serve_capability=(7, 5),
        ),
        Method(
            id="w4a16",
            title="GPTQ 4-bit, compressed-tensors",
            tool=LLM_COMPRESSOR,
            bits=4,
            readers=("vllm", "sglang", "lmdeploy", "tgi"),
            serve_capability=(7, 5),
        ),
        Method(
            id="fp8",
            title="FP8 (E4M3), compressed-tensors",
            tool=LLM_COMPRESSOR,
            bits=8,
            calibrated=False,
            readers=("vllm", "sglang", "tgi"),
            serve_capability=(8, 9),
        ),
        Method(
            id="int4_awq",
            title="AWQ 4-bit, Model Optimizer's form",
            tool=MODELOPT,
            bits=4,
            readers=("tensorrt-llm",),
            serve_capability=(8, 0),
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
    if model.quantization.value != "none":
        return Refusal(
            reason=f"{model.id} is quantised already ({model.quantization.value})",
            alternative="a 16-bit model",
        )
    if model.architecture != "LlamaForCausalLM":
        return Refusal(reason=f"{method.id} was built for Llama models, {model.id} is {model.architecture}")
    return None


def work(
    method: Method,
    model: ModelTraits,
    accelerator: Accelerator,
    examples: Iterable[Example],
    settings: Settings | None = None,
) -> Work:
    """How to quantise a model that `refuses` let pass."""
    chosen = settings or Settings()
    lines = [json.dumps(example.model_dump(), ensure_ascii=False) for example in examples]
    return Work(
        id=f"quantize-{method.id}",
        title=f"{model.id}: {method.title}, by {method.tool.title} {method.tool.version}",
        argv=(
            *("python3", f"{{files}}/{method.tool.program}", "{model}", f"{{config}}/{CALIBRATION}", "{out}"),
            *("--method", method.id, "--seed", str(chosen.seed)),
            *("--samples", str(chosen.samples), "--tokens", str(chosen.tokens)),
        ),
        files=(TextFile(path=CALIBRATION, text="".join(f"{line}\n" for line in lines)),),
        env=_environment(accelerator),
        image=method.tool.image(accelerator),
        gpu=accelerator is Accelerator.CUDA,
        deadline_s=_DEADLINE_S + _S_PER_GB * model.weights_bytes / 1e9,
        memory_bytes=2 * model.weights_bytes + _ROOM_BYTES,
        output_bytes=model.weights_bytes,  # never larger than what it is made from
        produces=("config.json", "tokenizer.json", "*.safetensors", RECORD),
    )


def _environment(accelerator: Accelerator) -> dict[str, str]:
    """No egress. One thread on a CPU: OpenMP's threads wait spinning, and sums keep one order."""
    quiet = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "TOKENIZERS_PARALLELISM": "false"}
    return quiet | ({"OMP_NUM_THREADS": "1"} if accelerator is Accelerator.CPU else {})
