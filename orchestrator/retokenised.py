"""Answers of a wire shape that states no counts, counted by the model's own tokenizer. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from orchestrator.domain.exchange import CountedBy, Exchange

Encode = Callable[[str], Sequence[int]]


def counted(exchanges: Sequence[Exchange], encode: Encode) -> list[Exchange]:
    """With the whole text of each uncounted answer tokenised again, also of those that were cut. A text may
    tokenise to fewer or more tokens than were generated: the end of the answer is no text, and neither is a token
    that is half a character."""
    return [
        replace(x, text_tokens=len(encode(x.text))) if x.tokens_from is CountedBy.NONE else x
        for x in exchanges
    ]
