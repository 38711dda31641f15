"""The tokenizer's files, in the form that both the engines of 2024 and those of today read."""

from __future__ import annotations

from typing import Any

from quantize.vocabulary import BEGIN_OF_TEXT, END_OF_TURN, PRE_TOKENIZER, Vocabulary

CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' }}"
    "{{ message['content'] | trim + '<|eot_id|>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}"
    "{% endif %}"
)


def tokenizer_json(vocabulary: Vocabulary) -> dict[str, Any]:
    """tokenizer.json. Text begins with <|begin_of_text|>, as Llama 3's does."""
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [_added(vocabulary, token) for token in vocabulary.special],
        "normalizer": None,
        "pre_tokenizer": PRE_TOKENIZER,
        "post_processor": _begin_of_text_first(vocabulary.special_id(BEGIN_OF_TEXT)),
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": _model(vocabulary),
    }


def tokenizer_config(vocabulary: Vocabulary, context_tokens: int) -> dict[str, Any]:
    """tokenizer_config.json, with the chat template inside."""
    added = {str(vocabulary.special_id(t)): _flags(t) for t in vocabulary.special}
    return {
        "added_tokens_decoder": added,
        "bos_token": BEGIN_OF_TEXT,
        "chat_template": CHAT_TEMPLATE,
        "clean_up_tokenization_spaces": False,
        "eos_token": END_OF_TURN,
        "model_input_names": ["input_ids", "attention_mask"],
        "model_max_length": context_tokens,
        "tokenizer_class": "PreTrainedTokenizerFast",
    }


def special_tokens_map() -> dict[str, str]:
    """special_tokens_map.json."""
    return {"bos_token": BEGIN_OF_TEXT, "eos_token": END_OF_TURN}


def _model(vocabulary: Vocabulary) -> dict[str, Any]:
    """Merges are written as "a b": tokenizers before 0.20 (the engines of June 2024) read nothing else."""
    return {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": True,
        "vocab": {token: i for i, token in enumerate(vocabulary.learnt)},
        "merges": [f"{left} {right}" for left, right in vocabulary.merges],
    }


def _begin_of_text_first(token_id: int) -> dict[str, Any]:
    begin = {"SpecialToken": {"id": BEGIN_OF_TEXT, "type_id": 0}}
    first = {"Sequence": {"id": "A", "type_id": 0}}
    second = {"Sequence": {"id": "B", "type_id": 1}}
    special = {"id": BEGIN_OF_TEXT, "ids": [token_id], "tokens": [BEGIN_OF_TEXT]}
    return {
        "type": "TemplateProcessing",
        "single": [begin, first],
        "pair": [begin, first, {"SpecialToken": {"id": BEGIN_OF_TEXT, "type_id": 1}}, second],
        "special_tokens": {BEGIN_OF_TEXT: special},
    }


def _added(vocabulary: Vocabulary, token: str) -> dict[str, Any]:
    return {"id": vocabulary.special_id(token), **_flags(token)}


def _flags(token: str) -> dict[str, Any]:
    return {
        "content": token,
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
        "special": True,
    }
