"""The vocabulary: byte-level BPE, trained on our own text, with Llama-3's special tokens behind it."""

from __future__ import annotations

import json
import string
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer

CORPUS = Path(__file__).parent / "corpus.txt"

BEGIN_OF_TEXT = "<|begin_of_text|>"
END_OF_TEXT = "<|end_of_text|>"
START_HEADER = "<|start_header_id|>"
END_HEADER = "<|end_header_id|>"
END_OF_TURN = "<|eot_id|>"
NAMED_SPECIALS = (BEGIN_OF_TEXT, END_OF_TEXT, START_HEADER, END_HEADER, END_OF_TURN)
SPECIALS = 64

# How Llama 3 cuts text before merging. llama.cpp knows the same rule by the name `llama-bpe`.
LLAMA3_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
PRE_TOKENIZER: dict[str, Any] = {
    "type": "Sequence",
    "pretokenizers": [
        {"type": "Split", "pattern": {"Regex": LLAMA3_SPLIT}, "behavior": "Isolated", "invert": False},
        {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False},
    ],
}

_SPACE = "\u0120"  # how the byte-level alphabet writes a space; other printable ASCII stands for itself
_VISIBLE = frozenset(string.ascii_letters + string.digits + string.punctuation)


@dataclass(frozen=True)
class Vocabulary:
    """All tokens by id: what BPE learnt, then the special ones."""

    learnt: tuple[str, ...]
    merges: tuple[tuple[str, str], ...]
    special: tuple[str, ...]

    @property
    def tokens(self) -> tuple[str, ...]:
        return self.learnt + self.special

    def special_id(self, token: str) -> int:
        return len(self.learnt) + self.special.index(token)

    def speakable(self, token_id: int) -> bool:
        """Whether a token is printable ASCII text that is not only blanks: one token, one visible chunk."""
        if token_id >= len(self.learnt):
            return False
        pieces = set(self.learnt[token_id]) - {_SPACE}
        return bool(pieces) and pieces <= _VISIBLE


def train(text: str, size: int) -> Vocabulary:
    """Learn merges until only the special tokens still fit; reserved ones fill up to `size` in any case."""
    tokenizer = Tokenizer.from_str(json.dumps(_untrained()))
    trainer = BpeTrainer(
        vocab_size=size - SPECIALS,
        min_frequency=1,
        initial_alphabet=ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([text], trainer)
    model = json.loads(tokenizer.to_str())["model"]
    learnt = tuple(sorted(model["vocab"], key=model["vocab"].__getitem__))
    merges = tuple((left, right) for left, right in model["merges"])
    return Vocabulary(learnt, merges, _special(size - len(learnt)))


def corpus() -> str:
    """The text that the vocabulary is learnt from."""
    return CORPUS.read_text(encoding="utf-8")


def _untrained() -> dict[str, Any]:
    return {"pre_tokenizer": PRE_TOKENIZER, "model": {"type": "BPE", "vocab": {}, "merges": []}}


def _special(count: int) -> tuple[str, ...]:
    reserved = range(count - len(NAMED_SPECIALS))
    return (*NAMED_SPECIALS, *(f"<|reserved_special_token_{i}|>" for i in reserved))
