"""Writes checkpoints in every quantised layout by rounding to nearest: what the tools write, without them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from quantize import awq
from quantize.layouts import GROUP, Layout
from quantize.tensors import Floats, e4m3, tensors

Stored = tuple[str, npt.NDArray[Any]]  # safetensors' name of the dtype, and the values as they are stored
_SHIFTS = np.arange(0, 32, 4, dtype=np.uint32)


def save(folder: Path, named: Mapping[str, Stored]) -> None:
    """model.safetensors, also with dtypes which numpy lacks."""
    header, blobs, end = {}, [], 0
    for name, (dtype, values) in named.items():
        blob = np.ascontiguousarray(values).tobytes()
        header[name] = {"dtype": dtype, "shape": list(values.shape), "data_offsets": [end, end + len(blob)]}
        blobs.append(blob)
        end += len(blob)
    text = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + b"".join(blobs))


def load(folder: Path) -> dict[str, Stored]:
    return {name: (tensor.dtype, tensor.read()) for name, tensor in tensors(folder).items()}


def make(original: Path, folder: Path, layout: Layout) -> None:
    """The checkpoint `original` in a layout."""
    folder.mkdir()
    shutil.copy(original / "config.json", folder)
    config(folder, dict(layout.config))
    named: dict[str, Stored] = {}
    for name, tensor in tensors(original).items():
        if name.endswith("_proj.weight"):
            stem = name.removesuffix("weight")
            named |= {f"{stem}{part}": s for part, s in _PACKERS[layout.name](tensor.floats()).items()}
        else:
            named[name] = (tensor.dtype, tensor.read())
    save(folder, named)


def config(folder: Path, quantization: dict[str, Any]) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"quantization_config": quantization}))


def _gemm(weight: Floats) -> dict[str, Stored]:
    packed = awq.quantise(weight.astype(np.float16))
    return {
        "qweight": ("I32", packed.qweight),
        "qzeros": ("I32", packed.qzeros),
        "scales": ("F16", packed.scales),
    }


def _gptq(weight: Floats) -> dict[str, Stored]:
    levels, scales = _symmetric(weight)
    groups, outputs = scales.T.shape
    zeros = np.full((groups, outputs), 8 - 1, np.uint32)
    return {
        "qweight": ("I32", _words(levels + 8).T),
        "qzeros": ("I32", _words(zeros)),
        "scales": ("F16", scales.T.astype(np.float16)),
        "g_idx": ("I32", (np.arange(weight.shape[1]) // GROUP).astype(np.int32)),
    }


def _pack_quantized(weight: Floats) -> dict[str, Stored]:
    levels, scales = _symmetric(weight)
    return {
        "weight_packed": ("I32", _words(levels + 8)),
        "weight_scale": ("F16", scales.astype(np.float16)),
        "weight_shape": ("I64", np.array(weight.shape)),
    }


def _float_quantized(weight: Floats) -> dict[str, Stored]:
    values = e4m3()[:127]
    scales = np.abs(weight).max(axis=1, keepdims=True) / values[-1]
    scales[scales == 0] = 1
    nearest = np.searchsorted((values[1:] + values[:-1]) / 2, np.abs(weight / scales))
    return {
        "weight": ("F8_E4M3", (nearest + np.where(weight < 0, 128, 0)).astype(np.uint8)),
        "weight_scale": ("F32", scales.astype(np.float32)),
    }


def _modelopt(weight: Floats) -> dict[str, Stored]:
    levels, scales = _symmetric(weight)
    low, high = levels[0::2] & 15, levels[1::2] & 15
    return {
        "weight": ("U8", (low | high << 4).astype(np.uint8)),
        "weight_scale": ("F32", scales.astype(np.float32)),
    }


def _symmetric(weight: Floats) -> tuple[npt.NDArray[np.int64], Floats]:
    """Levels -8..7 [outputs, inputs] and the scales [outputs, groups]."""
    groups = weight.reshape(len(weight), -1, GROUP)
    scales = np.abs(groups).max(axis=2) / 7.5
    scales[scales == 0] = 1
    levels = np.clip(np.rint(groups / scales[:, :, None]), -8, 7)
    return levels.reshape(weight.shape).astype(np.int64), scales


def _words(nibbles: npt.NDArray[Any]) -> npt.NDArray[np.int32]:
    eights = nibbles.astype(np.uint32).reshape(len(nibbles), -1, 8)
    joined: npt.NDArray[np.uint32] = np.bitwise_or.reduce(eights << _SHIFTS, axis=2)
    return joined.view(np.int32)


_PACKERS: dict[str, Callable[[Floats], dict[str, Stored]]] = {
    "AutoAWQ gemm": _gemm,
    "GPTQ": _gptq,
    "compressed-tensors pack-quantized": _pack_quantized,
    "compressed-tensors float-quantized": _float_quantized,
    "modelopt int4_awq": _modelopt,
}
