from __future__ import annotations

import pytest

from quantize import recipe, weights
from quantize.recipe import SMALL, TINY, TINY_AWQ
from quantize.vocabulary import Vocabulary


def test_sizes() -> None:
    """tiny has 3.28 million parameters, small 82 million."""
    assert 3_278_080 == TINY.parameters
    assert 81_808_128 == SMALL.parameters


def test_parameters_are_those_that_are_made(words: Vocabulary) -> None:
    """The stated number of parameters is the number of weights made."""
    assert TINY.parameters == sum(t.size for t in weights.tensors(TINY, words).values())


def test_awq_has_the_weights_of_tiny() -> None:
    """tiny-awq differs from tiny in its name and its quantisation only."""
    ours, theirs = vars(TINY_AWQ), vars(TINY)

    assert {"name", "quantization"} == {k for k in ours if ours[k] != theirs[k]}


def test_unknown_name_lists_the_recipes() -> None:
    """An unknown recipe is an error that names those that exist."""
    with pytest.raises(ValueError, match="unknown recipe 'huge'; known: small, tiny, tiny-awq"):
        recipe.named("huge")
