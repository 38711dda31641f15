"""AutoAWQ's "gemm" layout: 4-bit weights in groups along the inputs, each with a scale and a zero point.

w[input, output] = (q - zero) * scale. Eight outputs share one int32, interleaved, because AutoAWQ's
GPU kernel unpacks even and odd ones apart (AutoAWQ, awq/modules/linear/gemm.py).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from quantize.weights import Half

GROUP = 128
BITS = 4

_ORDER = np.array([0, 2, 4, 6, 1, 3, 5, 7])
_SHIFTS = np.arange(0, 32, BITS, dtype=np.uint32)
_MAX = 2**BITS - 1

Words = npt.NDArray[np.int32]
Nibbles = npt.NDArray[np.uint32]


@dataclass(frozen=True)
class Packed:
    """One linear layer: qweight [inputs, outputs / 8], qzeros and scales by group of inputs."""

    qweight: Words
    qzeros: Words
    scales: Half


def quantise(weight: Half) -> Packed:
    """Round a matrix [outputs, inputs] to 4 bits. Zero is always a level, so zero rows stay zero."""
    groups = weight.T.astype(np.float32).reshape(-1, GROUP, weight.shape[0])
    low = np.minimum(groups.min(axis=1), 0)
    high = np.maximum(groups.max(axis=1), 0)
    scales = ((high - low) / np.float32(_MAX)).astype(np.float16)
    scales[scales == 0] = 1
    steps = scales.astype(np.float32)
    zeros = np.clip(np.rint(-low / steps), 0, _MAX)
    levels = np.clip(np.rint(groups / steps[:, None]) + zeros[:, None], 0, _MAX)
    flat = levels.reshape(-1, weight.shape[0]).astype(np.uint32)
    return Packed(pack(flat), pack(zeros.astype(np.uint32)), scales)


def dequantise(packed: Packed) -> npt.NDArray[np.float32]:
    """The matrix [outputs, inputs] that an engine computes with."""
    levels = unpack(packed.qweight).astype(np.float32)
    zeros = np.repeat(unpack(packed.qzeros).astype(np.float32), GROUP, axis=0)
    scales = np.repeat(packed.scales.astype(np.float32), GROUP, axis=0)
    return ((levels - zeros) * scales).T


def pack(nibbles: Nibbles) -> Words:
    """Eight 4-bit columns into each int32, in AutoAWQ's order."""
    eights = nibbles.reshape(nibbles.shape[0], -1, 8)[:, :, _ORDER]
    joined: Nibbles = np.bitwise_or.reduce(eights << _SHIFTS, axis=2)
    return joined.view(np.int32)


def unpack(words: Words) -> Nibbles:
    """The inverse of `pack`."""
    eights = (words.view(np.uint32)[:, :, None] >> _SHIFTS) & np.uint32(_MAX)
    return eights[:, :, np.argsort(_ORDER)].reshape(words.shape[0], -1)


def tensors(plain: dict[str, Half]) -> dict[str, npt.NDArray[np.generic]]:
    """A model's tensors with every linear layer inside the blocks packed; the rest stays float16."""
    named: dict[str, npt.NDArray[np.generic]] = {}
    for name, weight in plain.items():
        if not name.endswith("_proj.weight"):
            named[name] = weight
            continue
        packed = quantise(weight)
        stem = name.removesuffix("weight")
        named |= {f"{stem}qweight": packed.qweight, f"{stem}qzeros": packed.qzeros}
        named[f"{stem}scales"] = packed.scales
    return named


def quantization_config() -> dict[str, object]:
    """What config.json says of it."""
    return {
        "bits": BITS,
        "group_size": GROUP,
        "modules_to_not_convert": None,
        "quant_method": "awq",
        "version": "gemm",
        "zero_point": True,
    }
