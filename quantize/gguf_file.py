"""The same model as one GGUF file: weights, tokenizer and chat template together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from gguf import GGUFWriter, LlamaFileType, TokenType

from quantize.recipe import Recipe
from quantize.tokenizer import CHAT_TEMPLATE
from quantize.vocabulary import BEGIN_OF_TEXT, END_OF_TURN, Vocabulary
from quantize.weights import Half

_NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "embed_tokens": "token_embd",
    "norm": "output_norm",
    "lm_head": "output",
}


def write(path: Path, recipe: Recipe, vocabulary: Vocabulary, tensors: dict[str, Half]) -> None:
    """Write the model to `path`: float16 matrices, float32 norms."""
    writer = GGUFWriter(path, "llama")
    _describe(writer, recipe)
    _add_tokenizer(writer, vocabulary)
    for name, tensor in tensors.items():
        writer.add_tensor(gguf_name(name), _gguf_tensor(name, tensor, recipe))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def gguf_name(name: str) -> str:
    """`model.layers.3.mlp.up_proj.weight` is `blk.3.ffn_up.weight` there."""
    stem = name.removeprefix("model.").removesuffix(".weight")
    if not stem.startswith("layers."):
        return f"{_NAMES[stem]}.weight"
    _, layer, part = stem.split(".", 2)
    return f"blk.{layer}.{_NAMES[part]}.weight"


def permute(weight: Half, heads: int) -> Half:
    """Reorder the rows of each head: llama.cpp rotates neighbouring pairs, transformers two halves."""
    rows, inputs = weight.shape
    halves = weight.reshape(heads, 2, rows // heads // 2, inputs)
    return halves.swapaxes(1, 2).reshape(rows, inputs)


def _gguf_tensor(name: str, tensor: Half, recipe: Recipe) -> npt.NDArray[np.generic]:
    if tensor.ndim == 1:
        return tensor.astype(np.float32)
    if name.endswith("q_proj.weight"):
        return permute(tensor, recipe.heads)
    if name.endswith("k_proj.weight"):
        return permute(tensor, recipe.kv_heads)
    return tensor


def _describe(writer: GGUFWriter, recipe: Recipe) -> None:
    writer.add_name(f"levelbench {recipe.name}")
    writer.add_file_type(LlamaFileType.MOSTLY_F16)
    writer.add_vocab_size(recipe.vocabulary)
    writer.add_context_length(recipe.context_tokens)
    writer.add_embedding_length(recipe.hidden)
    writer.add_block_count(recipe.layers)
    writer.add_feed_forward_length(recipe.intermediate)
    writer.add_head_count(recipe.heads)
    writer.add_head_count_kv(recipe.kv_heads)
    writer.add_rope_dimension_count(recipe.head_dim)
    writer.add_rope_freq_base(recipe.rope_theta)
    writer.add_layer_norm_rms_eps(recipe.norm_epsilon)


def _add_tokenizer(writer: GGUFWriter, vocabulary: Vocabulary) -> None:
    kinds = [TokenType.NORMAL] * len(vocabulary.learnt) + [TokenType.CONTROL] * len(vocabulary.special)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("llama-bpe")
    writer.add_token_list(list(vocabulary.tokens))
    writer.add_token_types(kinds)
    writer.add_token_merges([f"{left} {right}" for left, right in vocabulary.merges])
    writer.add_bos_token_id(vocabulary.special_id(BEGIN_OF_TEXT))
    writer.add_eos_token_id(vocabulary.special_id(END_OF_TURN))
    writer.add_add_bos_token(value=True)
    writer.add_chat_template(CHAT_TEMPLATE)
