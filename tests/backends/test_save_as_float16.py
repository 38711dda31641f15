"""The program that saves a checkpoint again as float16, run as its step runs it."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from orchestrator.render import FOLDER

PROGRAM = FOLDER / "context" / "save_as_float16.py"


def bfloat16_file(path: Path, tensors: dict[str, list[float]]) -> None:
    """Written by hand: numpy has no bfloat16. The upper half of a float32 is one."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    data = b""
    for name, values in tensors.items():
        part = b"".join(struct.pack("<f", value)[2:] for value in values)
        header[name] = {
            "dtype": "BF16",
            "shape": [len(values)],
            "data_offsets": [len(data), len(data) + len(part)],
        }
        data += part
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def saved(source: Path) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, str(PROGRAM), str(source), str(source.parent / "out" / "Some-Llama-3-8B")]
    return subprocess.run(argv, capture_output=True, text=True, check=False)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "config.json").write_text('{"torch_dtype": "bfloat16", "hidden_size": 2}')
    (folder / "tokenizer.json").write_text("{}")
    bfloat16_file(folder / "model.safetensors", {"b": [1.0, -2.5], "a": [0.15625, 65280.0]})
    return folder


def test_weights_keep_their_names_order_and_values(checkpoint: Path) -> None:
    """bfloat16 becomes float16 under the same names; what both can hold stays exactly as it was."""
    assert 0 == saved(checkpoint).returncode

    path = checkpoint.parent / "out" / "Some-Llama-3-8B" / "model.safetensors"
    with safe_open(str(path), "numpy") as file:
        found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dict
        assert {"format": "pt"} == file.metadata()
    assert {"float16"} == {str(tensor.dtype) for tensor in found.values()}
    assert [1.0, -2.5] == found["b"].tolist()
    assert [0.15625, 65280.0] == found["a"].tolist()


def test_the_config_says_float16_and_the_rest_is_copied(checkpoint: Path) -> None:
    """What an engine goes by."""
    saved(checkpoint)

    out = checkpoint.parent / "out" / "Some-Llama-3-8B"
    assert {"torch_dtype": "float16", "hidden_size": 2} == json.loads((out / "config.json").read_text())
    assert "{}" == (out / "tokenizer.json").read_text()


def test_a_weight_that_float16_cannot_hold_is_an_error(checkpoint: Path) -> None:
    """Infinity instead of a weight would be another model."""
    bfloat16_file(checkpoint / "model.safetensors", {"lm_head.weight": [1.0, 1e20]})

    done = saved(checkpoint)

    assert 1 == done.returncode
    assert (
        "lm_head.weight has weights that float16 cannot hold: serve this model in bfloat16\n" == done.stderr
    )


def test_other_dtypes_pass_through(checkpoint: Path) -> None:
    """A tensor that is no bfloat16 stays byte for byte."""
    save_file({"ids": np.arange(3, dtype=np.int64)}, checkpoint / "model.safetensors")
    saved(checkpoint)

    with safe_open(str(checkpoint.parent / "out" / "Some-Llama-3-8B" / "model.safetensors"), "numpy") as file:
        assert [0, 1, 2] == file.get_tensor("ids").tolist()
