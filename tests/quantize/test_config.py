from __future__ import annotations

from quantize.config import config, generation_config
from quantize.recipe import SMALL, TINY, TINY_AWQ
from quantize.vocabulary import Vocabulary


def test_config_has_the_recipes_shape(words: Vocabulary) -> None:
    """config.json describes a Llama of the recipe's shape in float16."""
    made = config(SMALL, words)
    shape = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")

    assert [768, 2048, 12, 12] == [made[name] for name in shape]
    assert (4, 64, 4096, 8192) == (
        made["num_key_value_heads"],
        made["head_dim"],
        made["vocab_size"],
        made["max_position_embeddings"],
    )
    assert (["LlamaForCausalLM"], "float16") == (made["architectures"], made["torch_dtype"])


def test_only_awq_says_that_it_is_quantised(words: Vocabulary) -> None:
    """quantization_config stands in tiny-awq's config and in no other."""
    expected = {
        "bits": 4,
        "group_size": 128,
        "modules_to_not_convert": None,
        "quant_method": "awq",
        "version": "gemm",
        "zero_point": True,
    }

    assert expected == config(TINY_AWQ, words)["quantization_config"]
    assert "quantization_config" not in config(TINY, words)


def test_generation_ends_with_either_end_token(words: Vocabulary) -> None:
    """Both end tokens stop generation, and there is no top_k, which would break SGLang."""
    made = generation_config(words)

    assert {"bos_token_id", "do_sample", "eos_token_id"} == set(made)
    assert ["<|end_of_text|>", "<|eot_id|>"] == [words.tokens[i] for i in made["eos_token_id"]]
