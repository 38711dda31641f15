"""Quantises a checkpoint with llm-compressor into compressed-tensors: 4-bit by GPTQ, or FP8 without calibration.

What it writes is byte-identical on repeat (on the CPU; not tried on a GPU).
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from datasets import Dataset
from llmcompressor import oneshot
from llmcompressor.modifiers.gptq import GPTQModifier
from llmcompressor.modifiers.quantization import QuantizationModifier
from quantize_checkpoint import DTYPE, Asked, asked, finish, texts
from transformers import AutoModelForCausalLM, AutoTokenizer, set_seed

KEPT = ["lm_head"]


def main() -> None:
    told = asked("llmcompressor", _RECIPES)
    set_seed(told.seed)
    model = AutoModelForCausalLM.from_pretrained(told.model, dtype=DTYPE)
    _RECIPES[told.method](told, model)
    with tempfile.TemporaryDirectory(dir=told.out) as folder:
        model.save_pretrained(folder, save_compressed=True)
        stated = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
        packages = ("llmcompressor", "compressed-tensors")
        finish(told, Path(folder), stated["quantization_config"], packages)


def _w4a16(told: Asked, model: AutoModelForCausalLM) -> None:
    tokenizer = AutoTokenizer.from_pretrained(told.model)
    rows = Dataset.from_list([{"input_ids": ids} for ids in texts(told, tokenizer)])
    oneshot(
        model=model,
        tokenizer=tokenizer,
        dataset=rows,
        recipe=[GPTQModifier(scheme="W4A16", targets="Linear", ignore=KEPT)],
        max_seq_length=told.tokens,
        num_calibration_samples=told.samples,
        shuffle_calibration_samples=False,  # drawn by our seed already
    )


def _fp8(_: Asked, model: AutoModelForCausalLM) -> None:
    """Weights by output channel, activations by token as they come: nothing to calibrate."""
    oneshot(model=model, recipe=[QuantizationModifier(scheme="FP8_DYNAMIC", targets="Linear", ignore=KEPT)])


_RECIPES = {"w4a16": _w4a16, "fp8": _fp8}

if __name__ == "__main__":
    main()
