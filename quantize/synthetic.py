"""Synthetic models: a folder of files, byte-identical on every machine. No download, no torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from backends.contract import Quantization
from quantize import awq, gguf_file, tokenizer, vocabulary, weights
from quantize.config import config, generation_config
from quantize.recipe import RECIPES, Recipe, named

__all__ = ["MAKER", "RECIPES", "fingerprint", "make", "write"]

# Raise this with any change that alters a byte of what is made; the golden sums in the tests notice.
MAKER = 1


def make(recipe_name: str, folder: Path) -> None:
    """Write every file of a model into `folder`, which is new or empty."""
    for _ in write(named(recipe_name), folder):
        pass


def fingerprint(recipe_name: str) -> str:
    """What the made files depend on, as one hash: equal fingerprints mean equal bytes."""
    recipe = json.dumps(asdict(named(recipe_name)), sort_keys=True)
    parts = (str(MAKER), recipe, vocabulary.corpus())
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def write(recipe: Recipe, folder: Path) -> Iterator[Path]:
    """Write a model's files one after the other; each path comes when its file is complete."""
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise FileExistsError(f"{folder} is not empty")
    words = vocabulary.train(vocabulary.corpus(), recipe.vocabulary)
    yield from _write_texts(recipe, words, folder)
    plain = weights.tensors(recipe, words)
    yield _write_safetensors(recipe, plain, folder)
    if recipe.quantization is Quantization.NONE:
        path = folder / "model.gguf"
        gguf_file.write(path, recipe, words, plain)
        yield path


def _write_texts(recipe: Recipe, words: vocabulary.Vocabulary, folder: Path) -> Iterator[Path]:
    texts: dict[str, dict[str, Any]] = {
        "config.json": config(recipe, words),
        "generation_config.json": generation_config(words),
        "special_tokens_map.json": tokenizer.special_tokens_map(),
        "tokenizer_config.json": tokenizer.tokenizer_config(words, recipe.context_tokens),
        "tokenizer.json": tokenizer.tokenizer_json(words),
    }
    for name, content in texts.items():
        path = folder / name
        path.write_bytes(json.dumps(content, indent=1, ensure_ascii=False).encode() + b"\n")
        yield path


def _write_safetensors(recipe: Recipe, plain: dict[str, weights.Half], folder: Path) -> Path:
    path = folder / "model.safetensors"
    tensors = awq.tensors(plain) if recipe.quantization is Quantization.AWQ else dict(plain)
    # safetensors copies memory as it lies, so a transposed view would be written transposed back.
    rowwise = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
    # transformers refuses a file whose metadata does not say which framework's layout it has.
    save_file(rowwise, path, metadata={"format": "pt"})
    return path
