from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGMLQuantizationType, GGUFReader
from safetensors.numpy import load_file

from quantize import gguf_file, tokenizer
from quantize.vocabulary import Vocabulary


@pytest.fixture
def reader(tiny: Path) -> Any:
    return GGUFReader(tiny / "model.gguf")


def field(reader: Any, name: str) -> Any:
    return reader.fields[name].contents()


def test_shape_is_that_of_config_json(reader: Any, tiny: Path) -> None:
    """The GGUF header and config.json describe the same model."""
    config = json.loads((tiny / "config.json").read_text())
    names = {
        "context_length": "max_position_embeddings",
        "embedding_length": "hidden_size",
        "block_count": "num_hidden_layers",
        "feed_forward_length": "intermediate_size",
        "attention.head_count": "num_attention_heads",
        "attention.head_count_kv": "num_key_value_heads",
        "rope.dimension_count": "head_dim",
        "rope.freq_base": "rope_theta",
        "vocab_size": "vocab_size",
    }

    assert {k: config[v] for k, v in names.items()} == {k: field(reader, f"llama.{k}") for k in names}
    assert config["rms_norm_eps"] == pytest.approx(field(reader, "llama.attention.layer_norm_rms_epsilon"))
    assert "llama" == field(reader, "general.architecture")


def test_tokenizer_is_inside(reader: Any, words: Vocabulary) -> None:
    """Tokens, merges, special tokens and chat template are those of tokenizer.json."""
    assert ("gpt2", "llama-bpe") == (
        field(reader, "tokenizer.ggml.model"),
        field(reader, "tokenizer.ggml.pre"),
    )
    assert list(words.tokens) == field(reader, "tokenizer.ggml.tokens")
    assert [" ".join(merge) for merge in words.merges] == field(reader, "tokenizer.ggml.merges")
    assert [1] * 4032 + [3] * 64 == field(reader, "tokenizer.ggml.token_type")
    assert tokenizer.CHAT_TEMPLATE == field(reader, "tokenizer.chat_template")
    assert words.special_id("<|begin_of_text|>") == field(reader, "tokenizer.ggml.bos_token_id")
    assert words.special_id("<|eot_id|>") == field(reader, "tokenizer.ggml.eos_token_id")
    assert field(reader, "tokenizer.ggml.add_bos_token") is True


def test_tensors_are_those_of_the_safetensors_file(reader: Any, tiny: Path) -> None:
    """Every weight is there once, unchanged but for the reordered query and key rows."""
    plain = load_file(tiny / "model.safetensors")
    there = {tensor.name: tensor.data for tensor in reader.tensors}

    assert {gguf_file.gguf_name(name) for name in plain} == set(there)
    for name, tensor in plain.items():
        moved = name.endswith(("q_proj.weight", "k_proj.weight"))

        assert moved != np.array_equal(tensor, there[gguf_file.gguf_name(name)])


def test_matrices_are_float16_and_norms_float32(reader: Any) -> None:
    """llama.cpp wants vectors in float32."""
    kinds = {(len(tensor.shape), tensor.tensor_type) for tensor in reader.tensors}

    assert {(2, GGMLQuantizationType.F16), (1, GGMLQuantizationType.F32)} == kinds


def test_permutation_pairs_the_two_halves_of_each_head() -> None:
    """Row i of a head's first half is followed by row i of its second half, head by head."""
    rows = np.arange(16, dtype=np.float16).reshape(16, 1)
    expected = [0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14, 11, 15]

    assert expected == gguf_file.permute(rows, heads=2).ravel().tolist()


def test_names() -> None:
    """Names of transformers become those of llama.cpp."""
    assert "blk.11.attn_q.weight" == gguf_file.gguf_name("model.layers.11.self_attn.q_proj.weight")
    assert "blk.0.ffn_norm.weight" == gguf_file.gguf_name("model.layers.0.post_attention_layernorm.weight")
    assert "output.weight" == gguf_file.gguf_name("lm_head.weight")
