"""Texts of an exact number of tokens, made of words that are one token each by the model's own tokenizer. Pure."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence

from tokenizers import Tokenizer

from backends.contract import FailureCause
from orchestrator.catalog.chat_template import ChatTemplate
from orchestrator.domain.prompt import Prompt
from orchestrator.domain.workload import Lengths
from orchestrator.errors import CellError, RequestError

MIN_WORDS = 50
TRIES = 16
REPEATS = 3  # whatever stands before it
_WORD = re.compile(r" [a-z]+")


class Words:
    """The words of a tokenizer, and texts made of them that have the wanted length once they are rendered."""

    def __init__(self, tokenizer: Tokenizer, chat: ChatTemplate | None) -> None:
        self._tokenizer = tokenizer
        self._chat = chat
        self._words = _words(tokenizer)
        self._openers = _openers(tokenizer, self._words)
        self.least_tokens = self._counts([("",)])[0] + 1

    def prompts(
        self, lengths: Sequence[int], sources: Sequence[Iterator[str]], outputs: Sequence[int | None]
    ) -> tuple[Prompt, ...]:
        """A prompt of each length, rendered, without a system prompt; its words come from the source beside it."""
        short = [length for length in lengths if length < self.least_tokens]
        if short:
            raise RequestError(
                f"a prompt of {min(short)} tokens is asked for, and the chat template alone takes "
                f"{self.least_tokens - 1}",
                hint=f"ask for at least {self.least_tokens}",
            )
        texts = [self._begun(source, n) for source, n in zip(sources, lengths, strict=True)]
        for _ in range(TRIES):
            missing = [n - found for n, found in zip(lengths, self._counts(texts), strict=True)]
            if not any(missing):
                return tuple(
                    Prompt.of("".join(t).strip(), out) for t, out in zip(texts, outputs, strict=True)
                )
            for text, source, n in zip(texts, sources, missing, strict=True):
                _adjust(text, source, n)
        raise CellError(
            "no text of the wanted number of tokens could be made with this tokenizer",
            hint="take prompts from a file",
            cause=FailureCause.MODEL_FILES,
        )

    def source(self, seed: str) -> Iterator[str]:
        """Words without end, always the same ones for a seed."""
        chance = random.Random(seed)
        while True:
            yield self._words[int(chance.random() * len(self._words))]

    def _begun(self, source: Iterator[str], length: int) -> list[str]:
        first, *others = (next(source) for _ in range(length - self.least_tokens + 1))
        return [self._openers[first], *others]

    def _counts(self, texts: Sequence[Sequence[str]]) -> list[int]:
        whole = ["".join(words).strip() for words in texts]
        if self._chat is None:
            return [len(e.ids) for e in self._tokenizer.encode_batch(whole)]
        return [len(r.tokens) for r in self._chat.render([Prompt.of(t) for t in whole], None)]


def drawn(lengths: Lengths, count: int, seed: str) -> list[int]:
    """So many lengths: all alike, or normally distributed and cut at the bounds."""
    chance = random.Random(seed)
    most = lengths.max or round(lengths.mean + 4 * lengths.stdev)
    return [
        min(most, max(lengths.min, round(lengths.mean + lengths.stdev * _normal(chance))))
        for _ in range(count)
    ]


def _normal(chance: random.Random) -> float:
    """Sum of twelve: Python promises the same `random()` across versions, and not the same `gauss()`."""
    return sum(chance.random() for _ in range(12)) - 6.0


def _adjust(text: list[str], source: Iterator[str], missing: int) -> None:
    if missing > 0:
        text += [next(source) for _ in range(missing)]
    elif missing < 0:
        del text[max(1, len(text) + missing) :]


def _words(tokenizer: Tokenizer) -> tuple[str, ...]:
    """A space and small letters: such a piece stays one token whatever stands before it."""
    ids = sorted(tokenizer.get_vocab().values())
    texts = dict.fromkeys(tokenizer.decode_batch([[i] for i in ids]))
    # some tokenizers decode without the space that belongs to a word
    known = dict.fromkeys(t if t.startswith(" ") else f" {t}" for t in texts)
    found = [word for word in known if _WORD.fullmatch(word)]
    repeated = tokenizer.encode_batch([word * REPEATS for word in found], add_special_tokens=False)
    words = tuple(word for word, e in zip(found, repeated, strict=True) if len(e.ids) == REPEATS)
    if len(words) < MIN_WORDS:
        raise CellError(
            f"this tokenizer has only {len(words)} words that are one token",
            hint="take prompts from a file",
            cause=FailureCause.MODEL_FILES,
        )
    return words


def _openers(tokenizer: Tokenizer, words: Sequence[str]) -> dict[str, str]:
    """For each word one that is a single token at the very beginning of a text too, without its space."""
    alone = tokenizer.encode_batch([word.strip() for word in words], add_special_tokens=False)
    fit = [word for word, e in zip(words, alone, strict=True) if len(e.ids) == 1] or list(words)
    return {word: fit[i % len(fit)] for i, word in enumerate(words)}
