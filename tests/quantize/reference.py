"""The Llama architecture in numpy, from its definition: what the made models should compute."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file

Floats = npt.NDArray[np.float32]


class Reference:
    """A model folder, held in float32. `logits` gives one row per token of a sequence."""

    def __init__(self, folder: Path) -> None:
        self.config: dict[str, Any] = json.loads((folder / "config.json").read_text())
        self.weights = {
            name.removeprefix("model.").removesuffix(".weight"): tensor.astype(np.float32)
            for name, tensor in load_file(folder / "model.safetensors").items()
        }

    def logits(self, ids: list[int]) -> Floats:
        state = self.weights["embed_tokens"][ids]
        for layer in range(self.config["num_hidden_layers"]):
            state = state + self._attention(f"layers.{layer}.", state)
            state = state + self._mlp(f"layers.{layer}.", state)
        return self._norm("norm", state) @ self.weights["lm_head"].T

    def _attention(self, prefix: str, state: Floats) -> Floats:
        normed = self._norm(f"{prefix}input_layernorm", state)
        query, key, value = (self._heads(f"{prefix}self_attn.{n}_proj", normed) for n in "qkv")
        shared = len(query) // len(key)
        key, value = np.repeat(self._rotate(key), shared, 0), np.repeat(value, shared, 0)
        scores = self._rotate(query) @ key.swapaxes(1, 2) / query.shape[2] ** 0.5
        length = scores.shape[1]
        scores = np.where(np.tril(np.ones((length, length), bool)), scores, -np.inf)
        mixed: Floats = softmax(scores) @ value
        joined = mixed.swapaxes(0, 1).reshape(length, -1)
        return joined @ self.weights[f"{prefix}self_attn.o_proj"].T

    def _mlp(self, prefix: str, state: Floats) -> Floats:
        normed = self._norm(f"{prefix}post_attention_layernorm", state)
        gate = normed @ self.weights[f"{prefix}mlp.gate_proj"].T
        up = normed @ self.weights[f"{prefix}mlp.up_proj"].T
        activated: Floats = gate / (1 + np.exp(-gate)) * up
        return activated @ self.weights[f"{prefix}mlp.down_proj"].T

    def _norm(self, name: str, state: Floats) -> Floats:
        power = (state**2).mean(axis=-1, keepdims=True) + self.config["rms_norm_eps"]
        return np.asarray(state / np.sqrt(power) * self.weights[name])

    def _heads(self, name: str, normed: Floats) -> Floats:
        flat: Floats = normed @ self.weights[name].T
        return flat.reshape(len(flat), -1, self.config["head_dim"]).swapaxes(0, 1)

    def _rotate(self, heads: Floats) -> Floats:
        half = heads.shape[2] // 2
        frequency = self.config["rope_theta"] ** -(np.arange(half) / half)
        angle = np.arange(heads.shape[1])[:, None] * frequency
        cos, sin = np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)
        first, second = heads[..., :half], heads[..., half:]
        return np.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


def softmax(scores: Floats) -> Floats:
    raised = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=-1, keepdims=True))
