"""Quantises a checkpoint to 4 bits with GPTQModel: AWQ in AutoAWQ's "gemm" layout, or GPTQ.

What it writes is byte-identical on repeat (on the CPU; not tried on a GPU).
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

# Its thread pool wants two workers for loading, and by default has half as many as there are cores
os.environ.setdefault("GPTQMODEL_CPU_WORKERS", "2")

import torch
from gptqmodel import GPTQModel
from gptqmodel.quantization import AWQConfig, GPTQConfig
from quantize_checkpoint import GROUP, asked, finish, texts
from transformers import AutoTokenizer, set_seed

# "original": the other packers are compiled at first use, for which there is no compiler in an image
PACKER = "original"


def main() -> None:
    told = asked("gptqmodel", _CONFIGS)
    set_seed(told.seed)
    tokenizer = AutoTokenizer.from_pretrained(told.model)
    device = "cuda:0" if torch.cuda.is_available() else "cpu"
    model = GPTQModel.load(str(told.model), _CONFIGS[told.method](), device=device, dtype=torch.float16)
    model.quantize([_row(ids) for ids in texts(told, tokenizer)], batch_size=1)
    with tempfile.TemporaryDirectory(dir=told.out) as folder:
        model.save(folder)
        finish(told, Path(folder), _portable(model.quantize_config.to_dict()), ("gptqmodel",))


def _awq() -> AWQConfig:
    """With zero points, as AutoAWQ has them and as engines of 2024 insist on."""
    return AWQConfig(bits=4, group_size=GROUP, sym=False, pack_impl=PACKER)


def _gptq() -> GPTQConfig:
    return GPTQConfig(bits=4, group_size=GROUP, sym=True, desc_act=False, pack_impl=PACKER)


def _row(ids: list[int]) -> dict[str, list[int]]:
    return {"input_ids": ids, "attention_mask": [1] * len(ids)}


def _portable(stated: dict[str, Any]) -> dict[str, Any]:
    """Without `meta`, which holds the name of a temporary folder."""
    return {key: value for key, value in stated.items() if key != "meta"}


_CONFIGS = {"awq": _awq, "gptq": _gptq}

if __name__ == "__main__":
    main()
