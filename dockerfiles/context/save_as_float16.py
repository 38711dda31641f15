"""A Hugging Face checkpoint saved again as float16: for an engine that goes by the checkpoint's dtype alone.

    python3 save_as_float16.py FROM TO

bfloat16 tensors are rounded to float16, which has as many bytes, so that names, shapes and offsets stay.
config.json says float16; all other files are copied. Needs numpy. Runs in images with Python 3.8.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np

CHUNK_VALUES = 2**25
LENGTH_BYTES = 8  # a safetensors file: the header's length, a JSON header, the tensors


def save(source: Path, target: Path) -> None:
    """Everything of `source`, as float16, in the new folder `target`."""
    target.mkdir(parents=True)
    for path in sorted(source.iterdir()):
        if path.suffix == ".safetensors":
            print(f"{path.name}: to float16", flush=True)
            save_tensors(path, target / path.name)
        elif path.name == "config.json":
            config = {**json.loads(path.read_text("utf-8")), "torch_dtype": "float16"}
            (target / path.name).write_text(json.dumps(config, indent=2), "utf-8")
        elif path.is_file():
            shutil.copyfile(path, target / path.name)


def save_tensors(source: Path, target: Path) -> None:
    """One file, tensor by tensor in the order of their bytes."""
    with source.open("rb") as old, target.open("wb") as new:
        length = int.from_bytes(old.read(LENGTH_BYTES), "little")
        header = json.loads(old.read(length))
        metadata = header.pop("__metadata__", None)
        tensors = sorted(header.items(), key=lambda item: item[1]["data_offsets"])
        renamed = {name: {**t, "dtype": "F16" if t["dtype"] == "BF16" else t["dtype"]} for name, t in tensors}
        text = json.dumps(renamed if metadata is None else {"__metadata__": metadata, **renamed}).encode()
        text += b" " * (-len(text) % LENGTH_BYTES)
        new.write(len(text).to_bytes(LENGTH_BYTES, "little") + text)
        for name, tensor in tensors:
            begin, end = tensor["data_offsets"]
            old.seek(LENGTH_BYTES + length + begin)
            for part in parts(end - begin):
                data = old.read(part)
                new.write(as_float16(name, data) if tensor["dtype"] == "BF16" else data)


def parts(size: int) -> list[int]:
    """Sizes in bytes that add up to `size`, none larger than a chunk."""
    chunk = 2 * CHUNK_VALUES
    return [min(chunk, size - done) for done in range(0, size, chunk)]


def as_float16(name: str, data: bytes) -> bytes:
    """bfloat16 is the upper half of a float32. A weight that float16 cannot hold is an error, not infinity."""
    values = (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4")
    with np.errstate(over="ignore"):
        halves = values.astype("<f2")
    if not np.array_equal(np.isfinite(values), np.isfinite(halves)):
        sys.exit(f"{name} has weights that float16 cannot hold: serve this model in bfloat16")
    return halves.tobytes()


if __name__ == "__main__":
    save(Path(sys.argv[1]), Path(sys.argv[2]))
