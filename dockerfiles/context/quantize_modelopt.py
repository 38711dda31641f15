"""Quantises a checkpoint with NVIDIA's Model Optimizer: `int4_awq`, which TensorRT-LLM reads.

What it writes is byte-identical on repeat (on the CPU; not tried on a GPU).
"""

from __future__ import annotations

import copy
import json
import shutil
import tempfile
from pathlib import Path

import modelopt.torch.quantization as mtq
import torch
from modelopt.torch.export import export_hf_checkpoint
from quantize_checkpoint import DTYPE, asked, finish, texts
from transformers import AutoModelForCausalLM, AutoTokenizer, set_seed

# TensorRT-LLM reads the scheme here, not in config.json
SCHEME = "hf_quant_config.json"


def main() -> None:
    told = asked("modelopt", ("int4_awq",))
    set_seed(told.seed)
    device = "cuda:0" if torch.cuda.is_available() else "cpu"
    tokenizer = AutoTokenizer.from_pretrained(told.model)
    model = AutoModelForCausalLM.from_pretrained(told.model, dtype=DTYPE).to(device)
    rows = [torch.tensor([ids], device=device) for ids in texts(told, tokenizer)]
    # not inference_mode: what the search keeps from its forward passes is used under autograd again
    with torch.no_grad():
        model = mtq.quantize(
            model, copy.deepcopy(mtq.INT4_AWQ_CFG), lambda module: [module(row) for row in rows]
        )
    with tempfile.TemporaryDirectory(dir=told.out) as folder:
        export_hf_checkpoint(model, export_dir=folder)
        stated = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
        shutil.move(Path(folder) / SCHEME, told.out / SCHEME)
        finish(told, Path(folder), stated["quantization_config"], ("nvidia-modelopt",))


if __name__ == "__main__":
    main()
