"""Answers that nobody counted, counted by the model's tokenizer."""

from __future__ import annotations

from dataclasses import replace

import pytest

from backends.contract import Dialect
from orchestrator.domain.counts import event_weights
from orchestrator.domain.exchange import CountedBy, Outcome
from orchestrator.load.dialects import uncounted
from orchestrator.retokenised import counted
from tests.domain.made import exchange


def letters(text: str) -> range:
    return range(len(text))


def test_an_uncounted_answer_is_tokenised_as_a_whole() -> None:
    """Also one that was cut; its events share the count."""
    cut = replace(exchange(0, (1, 2, 3), outcome=Outcome.CUT), text="abcdef")
    (found,) = counted([cut], letters)

    assert (CountedBy.TOKENIZER, 6) == (found.tokens_from, found.tokens)
    assert 6 == pytest.approx(event_weights([found]).sum())


def test_an_engines_own_count_stays() -> None:
    """What it says of itself is trusted more."""
    told = replace(exchange(0, (1, 2), completion_tokens=4), text="abcdef")

    assert [told] == counted([told], letters)


def test_only_plain_text_cannot_tell_a_count() -> None:
    """Every other wire shape has a place for one, used or not."""
    assert [Dialect.RAW_TEXT] == [dialect for dialect in Dialect if uncounted(dialect)]
