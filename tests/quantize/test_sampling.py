"""What the made models say, by a reference in numpy: as an engine would, at temperature 1."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from quantize.vocabulary import Vocabulary
from tests.quantize.reference import Floats, Reference, softmax

SEQUENCES, LENGTH = 24, 64


@pytest.fixture(scope="module")
def model(tiny: Path) -> Reference:
    return Reference(tiny)


@pytest.fixture(scope="module")
def chances(model: Reference, words: Vocabulary) -> Floats:
    """Probabilities of the next token after many random texts of speakable tokens."""
    choice = np.random.default_rng(1)
    speakable = [i for i in range(4096) if words.speakable(i)]
    begin = words.special_id("<|begin_of_text|>")
    texts = [[begin, *choice.choice(speakable, LENGTH).tolist()] for _ in range(SEQUENCES)]
    return np.concatenate([softmax(model.logits(text)[1:]) for text in texts])


def test_a_turn_ends_about_every_150th_token(chances: Floats, words: Vocabulary) -> None:
    """<|eot_id|> has a probability near 1/150 on average and is nowhere certain or impossible."""
    stop = chances[:, words.special_id("<|eot_id|>")]

    assert 120 < 1 / stop.mean() < 190
    assert 0.0005 < stop.min()
    assert stop.max() < 0.05


def test_nothing_unprintable_is_said(chances: Floats, words: Vocabulary) -> None:
    """All tokens that are not printable text have together no chance worth mentioning."""
    stop = words.special_id("<|eot_id|>")
    unspeakable = [i for i in range(4096) if not words.speakable(i) and i != stop]

    assert chances[:, unspeakable].sum(axis=1).max() < 1e-8


def test_text_is_varied_but_not_noise(chances: Floats) -> None:
    """The likeliest token has a share between that of a coin and that of a lottery."""
    likeliest = chances.max(axis=1)

    assert 0.03 < np.median(likeliest) < 0.3
    assert 300 < len(set(chances.argmax(axis=1).tolist()))


def test_an_answer_never_begins_with_the_end(model: Reference, words: Vocabulary) -> None:
    """After the newlines that a chat prompt ends with, <|eot_id|> cannot come: no reply is empty."""
    stop = words.special_id("<|eot_id|>")
    header = [words.special_id("<|end_header_id|>")]
    newlines = [words.tokens.index("\u010a\u010a")]
    single = [words.tokens.index("\u010a")] * 2
    for end in (newlines, single):
        last = softmax(model.logits([words.special_id("<|begin_of_text|>"), 400, 500, *header, *end]))[-1]

        assert last[stop] < 1e-9


def test_context_matters(model: Reference) -> None:
    """The next token depends on the words before the last one, so that prompts are really read."""
    first, second = model.logits([4032, 300, 400, 500])[-1], model.logits([4032, 900, 800, 500])[-1]

    assert 0.2 < np.abs(softmax(first) - softmax(second)).sum()
