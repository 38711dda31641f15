from __future__ import annotations

import pytest

from quantize import vocabulary
from quantize.vocabulary import NAMED_SPECIALS, Vocabulary


def test_vocabulary_is_full(words: Vocabulary) -> None:
    """All 4096 ids are taken, each by another token, the special ones last."""
    assert 4096 == len(words.tokens) == len(set(words.tokens))
    assert NAMED_SPECIALS == words.tokens[4032:4037]
    assert "<|reserved_special_token_58|>" == words.tokens[-1]


def test_every_byte_is_a_token(words: Vocabulary) -> None:
    """The byte alphabet is complete, so that any text can be written."""
    assert 256 == sum(len(token) == 1 for token in words.learnt)


def test_every_merge_makes_a_token(words: Vocabulary) -> None:
    """Beyond the bytes, each learnt token is what one merge makes."""
    assert words.learnt[256:] == tuple(left + right for left, right in words.merges)


def test_training_is_repeatable(words: Vocabulary) -> None:
    """Training twice on the same text gives the same vocabulary."""
    assert words == vocabulary.train(vocabulary.corpus(), 4096)


def test_short_text_is_filled_with_reserved_tokens() -> None:
    """A text with too few pairs leaves ids, which become reserved special tokens."""
    few = vocabulary.train("a text, a text", 4096)

    assert 4096 == len(few.tokens)
    assert 256 + len(few.merges) == len(few.learnt) < 300


@pytest.mark.parametrize("token", ["a", "\u0120the", "!", "\u0120urban", "7"])
def test_printable_ascii_is_speakable(words: Vocabulary, token: str) -> None:
    """Words, digits and punctuation may be generated, with or without a blank before them."""
    assert words.speakable(words.tokens.index(token))


@pytest.mark.parametrize("token", ["\u0120", "\u010a", "\u00e9", "\u0100", "<|eot_id|>", "<|end_of_text|>"])
def test_what_cannot_be_seen_is_not_speakable(words: Vocabulary, token: str) -> None:
    """Lone blanks, newlines, bytes beyond ASCII, control bytes and special tokens may not be generated."""
    assert not words.speakable(words.tokens.index(token))


def test_most_tokens_are_speakable(words: Vocabulary) -> None:
    """The vocabulary is not mostly ballast: more than nine in ten tokens can be generated."""
    assert 3800 < sum(words.speakable(i) for i in range(4096))


def test_corpus_is_plain_english_of_our_own() -> None:
    """The corpus is ASCII with Unix line ends, of a size that trains in a blink."""
    text = vocabulary.corpus()

    assert text.isascii()
    assert "\r" not in text
    assert 30_000 < len(text) < 50_000
