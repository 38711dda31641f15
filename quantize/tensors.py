"""The tensors of a checkpoint folder, read one at a time from its safetensors files.

The header is read here and not by the safetensors library, whose numpy form has no FP8 and no bfloat16.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.generic]
Floats = npt.NDArray[np.float32]

_LENGTH_BYTES = 8
# FP8 stays raw bytes and bfloat16 raw halves: numpy has neither
_STORED = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "<u2",
    "F8_E4M3": "u1",
    "I64": "<i8",
    "I32": "<i4",
    "I8": "i1",
    "U8": "u1",
}


@dataclass(frozen=True)
class Tensor:
    """Where one tensor lies. `dtype` is in safetensors' spelling."""

    path: Path
    offset: int
    dtype: str
    shape: tuple[int, ...]

    def read(self) -> Array:
        """The values as they are stored."""
        count = int(np.prod(self.shape, dtype=np.int64))
        stored = np.dtype(_STORED[self.dtype])
        with self.path.open("rb") as file:
            file.seek(self.offset)
            raw = file.read(count * stored.itemsize)
        return np.frombuffer(raw, dtype=stored).reshape(self.shape)

    def floats(self) -> Floats:
        """The numbers that the values mean."""
        raw = self.read()
        if self.dtype == "BF16":
            return (raw.astype(np.uint32) << np.uint32(16)).view(np.float32)
        return e4m3()[raw] if self.dtype == "F8_E4M3" else raw.astype(np.float32)


def tensors(folder: Path) -> dict[str, Tensor]:
    """Every tensor of a folder by name, over all its shards. ValueError where a file is no safetensors."""
    return {name: found for path in sorted(folder.glob("*.safetensors")) for name, found in _header(path)}


def e4m3() -> Floats:
    """The 256 values of an FP8 number: sign, 4 bits of exponent (bias 7), 3 of mantissa, no infinities."""
    exponent, mantissa = np.divmod(np.arange(128), 8)
    size = np.where(exponent == 0, mantissa / 8 * 2.0**-6, (1 + mantissa / 8) * 2.0 ** (exponent - 7.0))
    size[-1] = np.nan
    return np.concatenate([size, -size]).astype(np.float32)


def _header(path: Path) -> Iterator[tuple[str, Tensor]]:
    with path.open("rb") as file:
        length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
        try:
            header: Mapping[str, dict[str, list[int]]] = json.loads(file.read(length))
        except ValueError as error:
            raise ValueError(f"{path.name} is no safetensors file: {error}") from error
    for name, entry in header.items():
        if name != "__metadata__":
            begin = _LENGTH_BYTES + length + entry["data_offsets"][0]
            yield name, Tensor(path, begin, str(entry["dtype"]), tuple(entry["shape"]))
