"""Answers tokenised again after a load."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from backends.contract import Dialect
from orchestrator.domain.counts import event_weights
from orchestrator.domain.exchange import CountedBy, Exchange, Outcome
from orchestrator.load.dialects import uncounted
from orchestrator.recount import SAMPLE, recounted
from tests.domain.made import exchange


def said(text: str = "one two three", **changes: Any) -> Exchange:
    chars = np.array([len(word) for word in text.split(" ")], np.int32)
    return dataclasses.replace(exchange(0.0, (0.1,)), text=text, event_chars=chars, **changes)


def words(text: str) -> list[int]:
    return list(range(len(text.split())))


def test_a_text_is_counted() -> None:
    """Beside the engine's own count, or instead of it."""
    counted = recounted([said(completion_tokens=4), said("one")], words)

    assert [(3, 4), (1, 1)] == [(x.text_tokens, x.tokens) for x in counted]


@pytest.mark.parametrize(
    "changes",
    [
        {"outcome": Outcome.CUT},
        {"outcome": Outcome.STALL},
        {"text": ""},
        {"first_visible_ns": 7},  # it began with reasoning
        {"event_chars": np.array([5, 5, 0, 3], np.int32)},  # a tool call within
    ],
)
def test_what_is_not_all_there_is_left_out(changes: dict[str, Any]) -> None:
    """Its text is not what the engine counted."""
    (found,) = recounted([dataclasses.replace(said(), **changes)], words)

    assert found.text_tokens is None


def test_where_no_count_can_be_stated_every_answer_is_tokenised() -> None:
    """Also one that was cut; its events share the count."""
    cut = said("one two three four", outcome=Outcome.CUT)
    (found,) = recounted([cut], words, stated=False)

    assert (CountedBy.TOKENIZER, 4) == (found.tokens_from, found.tokens)
    assert 4 == pytest.approx(event_weights([found]).sum())


def test_only_plain_text_cannot_tell_a_count() -> None:
    """Every other wire shape has a place for one, used or not."""
    assert [Dialect.RAW_TEXT] == [dialect for dialect in Dialect if uncounted(dialect)]


def test_of_many_a_sample_is_counted_evenly_spread() -> None:
    """Those that nobody else counted are all."""
    many = [said(completion_tokens=3, user=i) for i in range(3 * SAMPLE)] + [said(user=-1)] * 7
    found = [x for x in recounted(many, words) if x.text_tokens is not None]

    assert [3 * i for i in range(SAMPLE)] + [-1] * 7 == [x.user for x in found]
