"""Random weights that are the same bytes everywhere.

numpy promises that a bit generator's raw integers never change, but not so the distributions made from
them. So a weight is the centred sum of four random bytes (an exact small integer of roughly normal
distribution), times one float32 scale, rounded to float16: three steps that IEEE 754 fixes to the bit.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from quantize.recipe import Recipe
from quantize.vocabulary import END_OF_TURN, Vocabulary

Half = npt.NDArray[np.float16]

# No layer writes to the first two hidden dimensions, so they carry what the embedding put there through
# to lm_head. ALWAYS holds the constant for every token: column ALWAYS of lm_head acts as a bias, which the
# architecture has not. UNSPOKEN holds it for those tokens only that are never generated, with which a
# prompt's template ends: it keeps <|eot_id|> from being the first answer, for an empty reply is an error.
CONSTANT = 8.0
ALWAYS, UNSPOKEN = 0, 1
BANNED_LOGIT = -30.0  # never drawn
LOGIT_SPREAD = 2.7  # standard deviation of the logits of speakable tokens

_EVEN_BYTES = np.uint64(0x00FF00FF00FF00FF)
_BYTE_SUM_MEAN = 510
_BYTE_SUM_DEVIATION = math.sqrt(4 * (256**2 - 1) / 12)


def tensors(recipe: Recipe, vocabulary: Vocabulary) -> dict[str, Half]:
    """All weights by their name in transformers' Llama, each [outputs, inputs]."""
    named = dict(_ends(recipe, vocabulary))
    for layer in range(recipe.layers):
        named.update(_layer(recipe, f"model.layers.{layer}."))
    return named


def normal(seed: str, shape: tuple[int, int], deviation: float) -> Half:
    """A matrix of the stream that `seed` names, of mean 0 and the given standard deviation."""
    key = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:16], "little")
    count = shape[0] * shape[1]
    raw = np.random.Philox(key=key).random_raw((count + 1) // 2).astype("<u8", copy=False)
    pairs = (raw & _EVEN_BYTES) + ((raw >> np.uint64(8)) & _EVEN_BYTES)
    lanes: npt.NDArray[np.uint16] = pairs.view("<u2")
    sums = (lanes[0::2] + lanes[1::2])[:count].astype(np.float32) - np.float32(_BYTE_SUM_MEAN)
    scaled = sums * np.float32(deviation / _BYTE_SUM_DEVIATION)
    return scaled.astype(np.float16).reshape(shape)


def _ends(recipe: Recipe, vocabulary: Vocabulary) -> Iterator[tuple[str, Half]]:
    speakable = np.array([vocabulary.speakable(i) for i in range(recipe.vocabulary)])
    stop = vocabulary.special_id(END_OF_TURN)
    yield "model.embed_tokens.weight", _embedding(recipe, speakable)
    yield "model.norm.weight", np.ones(recipe.hidden, np.float16)
    yield "lm_head.weight", _head(recipe, speakable, stop)


def _embedding(recipe: Recipe, speakable: npt.NDArray[np.bool_]) -> Half:
    embedding = normal(f"{recipe.seed}/embedding", (recipe.vocabulary, recipe.hidden), 1.0)
    embedding[:, ALWAYS] = CONSTANT
    embedding[:, UNSPOKEN] = np.where(speakable, 0.0, CONSTANT)
    return embedding


def _head(recipe: Recipe, speakable: npt.NDArray[np.bool_], stop: int) -> Half:
    deviation = LOGIT_SPREAD / math.sqrt(recipe.hidden)
    head = normal(f"{recipe.seed}/head", (recipe.vocabulary, recipe.hidden), deviation)
    banned = BANNED_LOGIT / recipe.bias_gain
    head[:, ALWAYS] = np.where(speakable, 0.0, banned)
    head[:, UNSPOKEN] = 0.0
    head[stop] = 0.0
    head[stop, ALWAYS] = recipe.eot_logit / recipe.bias_gain
    head[stop, UNSPOKEN] = banned
    return head


def _layer(recipe: Recipe, prefix: str) -> Iterator[tuple[str, Half]]:
    hidden, inner = recipe.hidden, recipe.intermediate
    queries, keys = recipe.heads * recipe.head_dim, recipe.kv_heads * recipe.head_dim
    shapes = {
        "self_attn.q_proj": (queries, hidden),
        "self_attn.k_proj": (keys, hidden),
        "self_attn.v_proj": (keys, hidden),
        "self_attn.o_proj": (hidden, queries),
        "mlp.gate_proj": (inner, hidden),
        "mlp.up_proj": (inner, hidden),
        "mlp.down_proj": (hidden, inner),
    }
    for name, shape in shapes.items():
        weight = normal(f"{recipe.seed}/{prefix}{name}", shape, 1 / math.sqrt(shape[1]))
        if name in ("self_attn.o_proj", "mlp.down_proj"):
            weight[[ALWAYS, UNSPOKEN]] = 0.0
        yield f"{prefix}{name}.weight", weight
    yield f"{prefix}input_layernorm.weight", np.ones(hidden, np.float16)
    yield f"{prefix}post_attention_layernorm.weight", np.ones(hidden, np.float16)
