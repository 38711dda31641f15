"""The words of the contract: enums, and what an adapter may know of a host and of a model."""

from __future__ import annotations

from enum import Enum

from pydantic import BaseModel, ConfigDict, Field


class Value(BaseModel):
    """A frozen value that survives a JSON round trip; unknown fields are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Accelerator(str, Enum):
    """What computes: a property of the host and of a release's build, never a second backend."""

    CPU = "cpu"
    CUDA = "cuda"


class Profile(str, Enum):
    """Which settings an engine is served with (DESIGN.md, section 4)."""

    PUBLISHED = "published"
    DEFAULTS = "defaults"
    MATCHED = "matched"


class PrefixCaching(str, Enum):
    """Whether an engine may reuse the KV cache of a common beginning. PROFILE leaves it to the profile."""

    PROFILE = "profile"
    ON = "on"
    OFF = "off"


class WeightsFormat(str, Enum):
    """How weights lie on the disk."""

    SAFETENSORS = "safetensors"
    GGUF = "gguf"
    MLC = "mlc"


class Quantization(str, Enum):
    """How weights are compressed; NONE means 16 bits.

    AWQ is AutoAWQ's "gemm" layout. W4A16 and FP8 are compressed-tensors. INT4_AWQ stands for 16-bit
    weights that the engine's own tool turns into 4 bits before it serves them, MODELOPT_INT4 for what NVIDIA's
    Model Optimizer has made of them. Q4F16_1 is MLC's own.
    """

    NONE = "none"
    AWQ = "awq"
    GPTQ = "gptq"
    W4A16 = "w4a16"
    FP8 = "fp8"
    INT4_AWQ = "int4-awq"
    MODELOPT_INT4 = "modelopt-int4"
    Q4F16_1 = "q4f16_1"


class Source(Value):
    """Where a fact was read: a URL, or a `file:line` of the engine's own source."""

    text: str
    verified: bool = True


class HostTraits(Value):
    """What an adapter may know of a host. `cpus` are those that an engine may use: the load client has others.
    Memory in bytes; GPU fields are None without a GPU."""

    accelerator: Accelerator
    cpus: int = Field(ge=1)
    memory_bytes: int
    gpu_name: str | None = None
    gpu_memory_bytes: int | None = None
    compute_capability: tuple[int, int] | None = None
    artifacts: tuple[str, ...] = Field(
        default=(), description="outputs of steps that are at hand: their names without their addresses"
    )


class ModelTraits(Value):
    """What an adapter may know of a model. `served_name` is the name that requests carry, `folder` the last
    part of the path under which the weights are mounted. `served_bytes` is what the engine holds in memory:
    less than `weights_bytes` where the engine's own tool compresses first. `dtype` is what the checkpoint's
    config says; `kv_token_bytes` what one token's keys and values take in 16 bits, None where not known."""

    id: str
    served_name: str
    folder: str
    formats: tuple[WeightsFormat, ...]
    quantization: Quantization
    dtype: str
    parameters: int
    weights_bytes: int
    served_bytes: int
    context_tokens: int
    kv_token_bytes: int | None = None
    architecture: str = "LlamaForCausalLM"


class Matched(Value):
    """What `matched` sets alike on every engine, as far as the engine has the setting."""

    max_sequences: int
    sequence_tokens: int
    kv_tokens: int
    dtype: str = "float16"


MATCHED = {
    Accelerator.CPU: Matched(max_sequences=16, sequence_tokens=2048, kv_tokens=16 * 2048),
    Accelerator.CUDA: Matched(max_sequences=256, sequence_tokens=2048, kv_tokens=256 * 1024),
}
