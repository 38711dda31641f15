"""The text of answers tokenised again, right after the load: a count that the engine has no part in. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from orchestrator.domain.exchange import Exchange, Outcome

SAMPLE = 500  # of those that have a count: on two shared cores some 0.5 s for answers of 300 tokens
MAX_MUTE_SHARE = 0.1

Encode = Callable[[str], Sequence[int]]


def recounted(exchanges: Sequence[Exchange], encode: Encode, *, stated: bool = True) -> list[Exchange]:
    """With `text_tokens` of every completed answer that nobody else counted, and of a sample of the others, evenly
    spread over the load. `encode` must add no special tokens.

    Where the wire shape has no place for a count (not `stated`), that is all there is: then of every answer, also of
    those that were cut. A text may tokenise to fewer or more tokens than were generated: the end of the answer is no
    text, and neither is a token that is half a character.
    """
    known = [i for i, x in enumerate(exchanges) if x.counted and _is_fit(x)]
    picked = {known[len(known) * k // SAMPLE] for k in range(SAMPLE)} if len(known) > SAMPLE else set(known)
    picked.update(i for i, x in enumerate(exchanges) if not x.counted and (_is_fit(x) or not stated))
    return [
        replace(x, text_tokens=len(encode(x.text))) if i in picked else x for i, x in enumerate(exchanges)
    ]


def _is_fit(x: Exchange) -> bool:
    """Completed, and with nearly all of its tokens in its text: reasoning and tool calls are not."""
    if x.outcome is not Outcome.OK or not x.text or x.first_visible_ns != x.first_token_ns:
        return False
    return int((x.event_chars == 0).sum()) <= MAX_MUTE_SHARE * len(x.event_chars)
