from __future__ import annotations

import json
from pathlib import Path

import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer

from quantize import tokenizer
from quantize.vocabulary import Vocabulary

MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": " Hello. \n"}]


@pytest.fixture
def made(tiny: Path) -> Tokenizer:
    return Tokenizer.from_file(str(tiny / "tokenizer.json"))


@pytest.mark.parametrize(
    "text",
    [
        "The harbour wakes before the town does.",
        "  two  blanks \n\n\tand a tab\r\n",
        "na\u00efve \u2013 \u65e5\u672c\u8a9e \U0001f600",
        "def f(x):\n    return x**2",
        "<|eot_id|> in the middle of a text",
    ],
)
def test_text_survives_the_round_trip(made: Tokenizer, text: str) -> None:
    """Any text comes back unchanged from its tokens."""
    ids = made.encode(text, add_special_tokens=False).ids

    assert text == made.decode(ids, skip_special_tokens=False)


def test_text_begins_with_begin_of_text(made: Tokenizer, words: Vocabulary) -> None:
    """One <|begin_of_text|> is put before a text, as Llama 3's tokenizer does."""
    begin = words.special_id("<|begin_of_text|>")

    assert [begin, words.tokens.index("\u0120the")] == made.encode(" the").ids
    assert 2 == made.encode("one", "two").ids.count(begin)


def test_special_tokens_have_the_ids_of_the_vocabulary(made: Tokenizer, words: Vocabulary) -> None:
    """The file gives every token, special or not, the id which the weights were made for."""
    assert list(words.tokens) == [made.id_to_token(i) for i in range(made.get_vocab_size())]


def test_numbers_are_cut_into_threes(made: Tokenizer) -> None:
    """Llama 3's rule holds: at most three digits belong together."""
    pieces = [piece for piece, _ in made.pre_tokenizer.pre_tokenize_str("in 1234567")]

    assert ["in", "\u0120", "123", "456", "7"] == pieces


def test_english_is_compressed(made: Tokenizer) -> None:
    """English text outside of the corpus takes a token for about three and a half letters or more."""
    text = "Please explain to me why the old railway bridge was closed, and what people think about it today."

    assert 3 < len(text) / len(made.encode(text).ids) < 6


def test_merges_are_written_as_old_engines_read_them(tiny: Path) -> None:
    """Merges are strings of two tokens: tokenizers before 0.20 cannot read pairs."""
    merges = json.loads((tiny / "tokenizer.json").read_text())["model"]["merges"]

    assert {str} == {type(merge) for merge in merges}
    assert {1} == {merge.count(" ") for merge in merges}


def test_chat_template_renders_llama_3_turns(tiny: Path) -> None:
    """The template of tokenizer_config.json writes each message as Llama 3's does."""
    settings = json.loads((tiny / "tokenizer_config.json").read_text())
    template = ImmutableSandboxedEnvironment().from_string(settings["chat_template"])
    expected = (
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nHello.<|eot_id|>"
    )
    turn = "<|start_header_id|>assistant<|end_header_id|>\n\n"

    def render(*, turn_follows: bool) -> str:
        begin = settings["bos_token"]
        return template.render(messages=MESSAGES, bos_token=begin, add_generation_prompt=turn_follows)

    assert expected == render(turn_follows=False)
    assert expected + turn == render(turn_follows=True)


def test_settings_name_the_ends(words: Vocabulary) -> None:
    """A text begins with <|begin_of_text|>, a turn ends with <|eot_id|>, and blanks are left alone."""
    settings = tokenizer.tokenizer_config(words, 8192)

    assert ("<|begin_of_text|>", "<|eot_id|>") == (settings["bos_token"], settings["eos_token"])
    assert tokenizer.special_tokens_map().items() <= settings.items()
    assert settings["clean_up_tokenization_spaces"] is False
    assert 8192 == settings["model_max_length"]
    assert 64 == len(settings["added_tokens_decoder"])
