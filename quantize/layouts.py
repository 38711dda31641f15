"""How quantised linear layers lie in a checkpoint: which tensors, which shapes, and what they mean.

Each layout is a value: the tensors that a linear layer [outputs, inputs] must have, and a function from
them to the matrix that an engine computes with. Sources: the tools' own packers (AutoAWQ
awq/modules/linear/gemm.py; GPTQModel nn_modules/qlinear; compressed-tensors compressors/pack_quantized;
modelopt torch/export/quant_utils.py, pack_int4_in_uint8).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from quantize import awq
from quantize.tensors import Floats, Tensor

GROUP = 128

Parts = Mapping[str, Tensor]
Form = tuple[tuple[str, ...], tuple[int, ...]]  # the dtypes that a tensor may have, and its shape
Nibbles = npt.NDArray[np.uint32]
_SHIFTS = np.arange(0, 32, 4, dtype=np.uint32)


@dataclass(frozen=True)
class Layout:
    """`parts` gives suffix -> (dtypes, shape) of a linear layer; `config` what config.json must say of it.

    `error` bounds the relative error (Frobenius norm) of each dequantised matrix. It was set above what the
    tools reach on normally distributed weights, and far below that of weights that are read wrongly, which is 1 and more.
    """

    name: str
    config: Mapping[str, object]
    parts: Callable[[int, int], dict[str, Form]]
    dequantise: Callable[[Parts], Floats]
    error: float
    optional: tuple[str, ...] = ()


def _gemm_parts(outputs: int, inputs: int) -> dict[str, Form]:
    groups = inputs // GROUP
    return {
        "qweight": (("I32",), (inputs, outputs // 8)),
        "qzeros": (("I32",), (groups, outputs // 8)),
        "scales": (("F16",), (groups, outputs)),
    }


def _gemm(parts: Parts) -> Floats:
    levels, zeros = (awq.unpack(parts[n].read().astype(np.int32)) for n in ("qweight", "qzeros"))
    return (_steps(levels, zeros) * _by_input(parts["scales"].floats())).T


def _gptq_parts(outputs: int, inputs: int) -> dict[str, Form]:
    groups = inputs // GROUP
    return {
        "qweight": (("I32",), (inputs // 8, outputs)),
        "qzeros": (("I32",), (groups, outputs // 8)),
        "scales": (("F16",), (groups, outputs)),
        "g_idx": (("I32",), (inputs,)),
    }


def _gptq(parts: Parts) -> Floats:
    """Zero points are stored one too low; `g_idx` says to which group an input belongs."""
    levels = _nibbles(parts["qweight"].read().T).T
    zeros = _nibbles(parts["qzeros"].read()) + np.uint32(1)
    group = parts["g_idx"].read().astype(np.int64)
    steps = levels.astype(np.float32) - zeros.astype(np.float32)[group]
    return np.asarray(steps * parts["scales"].floats()[group]).T


def _packed_parts(outputs: int, inputs: int) -> dict[str, Form]:
    return {
        "weight_packed": (("I32",), (outputs, inputs // 8)),
        "weight_scale": (("F16", "BF16"), (outputs, inputs // GROUP)),
        "weight_shape": (("I64", "I32"), (2,)),
    }


def _packed(parts: Parts) -> Floats:
    steps = _nibbles(parts["weight_packed"].read()).astype(np.float32) - 8
    return np.asarray(steps * np.repeat(parts["weight_scale"].floats(), GROUP, axis=1))


def _fp8_parts(outputs: int, inputs: int) -> dict[str, Form]:
    return {
        "weight": (("F8_E4M3",), (outputs, inputs)),
        "weight_scale": (("F16", "BF16", "F32"), (outputs, 1)),
    }


def _fp8(parts: Parts) -> Floats:
    return np.asarray(parts["weight"].floats() * parts["weight_scale"].floats())


def _modelopt_parts(outputs: int, inputs: int) -> dict[str, Form]:
    return {
        "weight": (("U8",), (outputs // 2, inputs)),
        "weight_scale": (("F32", "F16"), (outputs, inputs // GROUP)),
        "pre_quant_scale": (("F16", "F32"), (inputs,)),
    }


def _modelopt(parts: Parts) -> Floats:
    """Two outputs share a byte, the even one low. What the inputs are multiplied by first is part of it."""
    raw = parts["weight"].read().astype(np.int32)
    levels = np.stack([raw & 15, raw >> 4], axis=1).reshape(-1, raw.shape[1])
    signed = np.where(levels > 7, levels - 16, levels).astype(np.float32)  # noqa: PLR2004 - two's complement
    weights = signed * np.repeat(parts["weight_scale"].floats(), GROUP, axis=1)
    return np.asarray(weights * parts["pre_quant_scale"].floats() if "pre_quant_scale" in parts else weights)


def _nibbles(words: npt.NDArray[np.generic]) -> Nibbles:
    """Eight 4-bit columns out of each int32, the lowest bits first."""
    wide = np.ascontiguousarray(words).astype(np.int32).view(np.uint32)
    return ((wide[:, :, None] >> _SHIFTS) & np.uint32(15)).reshape(words.shape[0], -1)


def _steps(levels: Nibbles, zeros: Nibbles) -> Floats:
    return levels.astype(np.float32) - _by_input(zeros.astype(np.float32))


def _by_input(grouped: Floats) -> Floats:
    return np.repeat(grouped, GROUP, axis=0)


AUTOAWQ_GEMM = Layout(
    name="AutoAWQ gemm",
    config={"quant_method": "awq", "version": "gemm", "bits": 4, "group_size": GROUP, "zero_point": True},
    parts=_gemm_parts,
    dequantise=_gemm,
    error=0.15,
)
GPTQ = Layout(
    name="GPTQ",
    config={"quant_method": "gptq", "bits": 4, "group_size": GROUP, "desc_act": False},
    parts=_gptq_parts,
    dequantise=_gptq,
    error=0.25,
)
PACK_QUANTIZED = Layout(
    name="compressed-tensors pack-quantized",
    config={"quant_method": "compressed-tensors", "format": "pack-quantized"},
    parts=_packed_parts,
    dequantise=_packed,
    error=0.25,
)
FLOAT_QUANTIZED = Layout(
    name="compressed-tensors float-quantized",
    config={"quant_method": "compressed-tensors", "format": "float-quantized"},
    parts=_fp8_parts,
    dequantise=_fp8,
    error=0.05,
)
MODELOPT_INT4_AWQ = Layout(
    name="modelopt int4_awq",
    config={"quant_method": "modelopt", "quant_algo": "W4A16_AWQ"},
    parts=_modelopt_parts,
    dequantise=_modelopt,
    error=0.2,
    optional=("pre_quant_scale",),
)
