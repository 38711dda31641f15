from __future__ import annotations

import hashlib

import numpy as np
import pytest

from quantize import weights
from quantize.recipe import TINY
from quantize.vocabulary import Vocabulary
from quantize.weights import ALWAYS, CONSTANT, UNSPOKEN


def test_numbers_are_the_same_everywhere() -> None:
    """The stream's bytes are fixed: no version of numpy or Python changes them."""
    made = weights.normal("golden", (64, 33), 0.05)
    digest = "61dd9cbfa71e4ca2c67a6a078e1acf9be460873947f9d5ca3ee0049379ce8a2c"

    assert digest == hashlib.sha256(made.astype("<f2").tobytes()).hexdigest()


def test_numbers_are_nearly_normal() -> None:
    """Mean, deviation, symmetry and tails are those of the sum of four uniform variables."""
    made = weights.normal("shape", (1000, 300), 2.0).astype(np.float64) / 2.0

    assert 0 == pytest.approx(made.mean(), abs=0.01)
    assert 1 == pytest.approx(made.std(), abs=0.01)
    assert 2.7 == pytest.approx((made**4).mean(), abs=0.05)
    assert 3.46 == pytest.approx(np.abs(made).max(), abs=0.3)


def test_neighbours_are_independent() -> None:
    """Numbers that come from one raw integer are not correlated with each other."""
    flat = weights.normal("pairs", (1000, 300), 1.0).ravel().astype(np.float64)

    assert 0 == pytest.approx(np.corrcoef(flat[0::2], flat[1::2])[0, 1], abs=0.01)


def test_odd_counts_are_filled() -> None:
    """A matrix with an odd number of entries begins like a longer one of the same stream."""
    odd, even = weights.normal("odd", (3, 3), 1.0), weights.normal("odd", (1, 10), 1.0)

    assert odd.ravel().tolist() == even.ravel()[:9].tolist()


def test_streams_differ_by_name() -> None:
    """Another seed gives other numbers."""
    assert weights.normal("a", (4, 4), 1.0).tolist() != weights.normal("b", (4, 4), 1.0).tolist()


def test_no_layer_writes_to_the_reserved_dimensions(words: Vocabulary) -> None:
    """The rows of attention output and MLP output for both reserved dimensions are zero, others not."""
    writers = [
        tensor
        for name, tensor in weights.tensors(TINY, words).items()
        if name.endswith(("o_proj.weight", "down_proj.weight"))
    ]

    assert 4 == len(writers)
    for tensor in writers:
        assert not tensor[[ALWAYS, UNSPOKEN]].any()
        assert tensor[2:].any(axis=1).all()


def test_embedding_carries_the_constants(words: Vocabulary) -> None:
    """Every token has the constant in one dimension, the unspeakable ones in the other as well."""
    embedding = weights.tensors(TINY, words)["model.embed_tokens.weight"]
    unspoken = [i for i in range(4096) if not words.speakable(i)]

    assert {CONSTANT} == set(embedding[:, ALWAYS].tolist())
    assert unspoken == np.flatnonzero(embedding[:, UNSPOKEN] == CONSTANT).tolist()


def test_everything_is_float16(words: Vocabulary) -> None:
    """All tensors have the type that config.json states."""
    assert {np.dtype(np.float16)} == {t.dtype for t in weights.tensors(TINY, words).values()}
