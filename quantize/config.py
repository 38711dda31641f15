"""config.json and generation_config.json."""

from __future__ import annotations

from typing import Any

from backends.contract import Quantization
from quantize import awq
from quantize.recipe import Recipe
from quantize.vocabulary import BEGIN_OF_TEXT, END_OF_TEXT, END_OF_TURN, Vocabulary


def config(recipe: Recipe, vocabulary: Vocabulary) -> dict[str, Any]:
    """The model's shape. `torch_dtype` is the name that every release of transformers reads."""
    shape = {
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": vocabulary.special_id(BEGIN_OF_TEXT),
        "eos_token_id": vocabulary.special_id(END_OF_TURN),
        "head_dim": recipe.head_dim,
        "hidden_act": "silu",
        "hidden_size": recipe.hidden,
        "initializer_range": 0.02,
        "intermediate_size": recipe.intermediate,
        "max_position_embeddings": recipe.context_tokens,
        "mlp_bias": False,
        "model_type": "llama",
        "num_attention_heads": recipe.heads,
        "num_hidden_layers": recipe.layers,
        "num_key_value_heads": recipe.kv_heads,
        "rms_norm_eps": recipe.norm_epsilon,
        "rope_scaling": None,
        "rope_theta": recipe.rope_theta,
        "tie_word_embeddings": False,
        "torch_dtype": "float16",
        "use_cache": True,
        "vocab_size": recipe.vocabulary,
    }
    if recipe.quantization is Quantization.AWQ:
        shape["quantization_config"] = awq.quantization_config()
    return shape


def generation_config(vocabulary: Vocabulary) -> dict[str, Any]:
    """Where generation ends. No `top_k`: SGLang 0.5 answers 400 to every request when it is 0."""
    return {
        "bos_token_id": vocabulary.special_id(BEGIN_OF_TEXT),
        "do_sample": True,
        "eos_token_id": [vocabulary.special_id(END_OF_TEXT), vocabulary.special_id(END_OF_TURN)],
    }
