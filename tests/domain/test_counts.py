"""Who counts tokens, and how far the counts are apart."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from orchestrator.domain.counts import (
    GENERATED,
    PromptOffsets,
    counter_growth,
    event_weights,
    prompt_offsets,
    token_counts,
    tokens_from,
)
from orchestrator.domain.exchange import CountedBy, Exchange, Outcome
from orchestrator.domain.metrics import summarise
from orchestrator.domain.telemetry import Sample
from tests.domain.made import exchange, span

STATED: dict[str, Any] = {"counted_by": CountedBy.CUMULATIVE}


def counted(**changes: Any) -> Exchange:
    """Two events at 12 and 13 s, with whatever counts are given."""
    return dataclasses.replace(exchange(11, (12, 13)), **changes)


@pytest.mark.parametrize(
    ("source", "tokens", "changes"),
    [
        (CountedBy.USAGE, 9, {"completion_tokens": 9, "event_tokens": np.array([3, 4]), "text_tokens": 5}),
        (CountedBy.CUMULATIVE, 7, {**STATED, "event_tokens": np.array([3, 4]), "text_tokens": 5}),
        (
            CountedBy.EVENTS,
            2,
            {"event_tokens": np.ones(2, int), "counted_by": CountedBy.EVENTS, "text_tokens": 5},
        ),
        (CountedBy.TOKENIZER, 5, {"text_tokens": 5}),
        (CountedBy.NONE, 2, {}),
    ],
)
def test_the_first_source_that_there_is_counts(
    source: CountedBy, tokens: int, changes: dict[str, Any]
) -> None:
    """Usage, tokens per event, tokenizer, events."""
    x = counted(**changes)

    assert (source, tokens) == (x.tokens_from, x.tokens)
    assert {source.value: 1} == tokens_from([x])


def test_a_cell_with_two_sources_says_so() -> None:
    """The result tells how many requests took which."""
    m = summarise([counted(), counted(completion_tokens=2), counted()], span(), window_s=5)

    assert {"none": 2, "usage": 1} == m.tokens_from


def test_events_weigh_what_the_dialect_states() -> None:
    """Three tokens came with the first event and one with the second."""
    assert [3.0, 1.0] == event_weights([counted(**STATED, event_tokens=np.array([3, 1]))]).tolist()


def test_stated_tokens_are_scaled_to_the_count() -> None:
    """The engine counted eight where its events say four: shares stay, the sum is the engine's."""
    x = counted(**STATED, event_tokens=np.array([3, 1]), completion_tokens=8)

    assert [6.0, 2.0] == event_weights([x]).tolist()


def test_the_sources_stand_side_by_side() -> None:
    """Only requests with usage are compared. Tokens per event must be stated for all of them; those that were
    tokenised again are compared with their own usage."""
    full = counted(**STATED, completion_tokens=4, event_tokens=np.array([3, 1]), text_tokens=5)
    bare = counted(completion_tokens=4)
    both, one = token_counts([full, bare, counted()], 10.0), token_counts([full], 10.0)

    assert (2, 8, 4, None) == (both.requests, both.usage, both.events, both.stated)
    assert (5, 1, 4) == (both.tokenizer, both.tokenizer_requests, both.tokenizer_usage)
    assert (4, 5) == (one.stated, one.tokenizer)
    assert token_counts([bare], 10.0).tokenizer is None


def test_what_was_delivered_and_never_finished_is_told() -> None:
    """The tokens of a cut request are in the total and in no usage."""
    cut = exchange(18, (18.5, 19.5), end_s=20, outcome=Outcome.CUT)
    m = summarise([counted(completion_tokens=2), cut], span(), window_s=5)

    assert (4.0, 2.0) == (m.token_counts.delivered, m.token_counts.unfinished)


def test_bundled_tokens_share_the_gap_before_them() -> None:
    """Two events of four tokens, 1 s apart: each of the later four took a quarter; the gap is shown too."""
    m = summarise([counted(**STATED, event_tokens=np.array([4, 4]))], span(), window_s=5)

    assert (1, 0.25, 1.0) == (m.itl_s.n, m.itl_s.mean, m.event_gap_s.mean)
    assert (4.0, 1.0) == (m.tokens_per_event, m.bundled_share)


def test_a_bundle_weighs_as_many_tokens_as_it_has() -> None:
    """One token after 1 s and three after another: four tokens in two seconds, three of them bundled."""
    x = dataclasses.replace(exchange(11, (12, 13, 14)), event_tokens=np.array([1, 1, 3]), **STATED)
    m = summarise([x], span(), window_s=5)

    assert (2, 0.5) == (m.itl_s.n, m.itl_s.mean)
    assert (1.0, 0.6) == (m.itl_s.max, m.bundled_share)


def test_a_hidden_end_token_is_no_bundle() -> None:
    """The engine counts four tokens where three events came: the gap is one token's all the same."""
    m = summarise([exchange(11, (11.5, 12, 13), completion_tokens=4)], span(), window_s=5)

    assert (1.0, 0.0) == (m.itl_s.max, m.bundled_share)


def test_prompt_counts_are_compared() -> None:
    """The engine counted 40 for both; we rendered 39 and 42, and a third nobody rendered."""
    two = [counted(expected_prompt_tokens=n) for n in (39, 42, None)]

    assert PromptOffsets(requests=2, least=-2, mean=-0.5, most=1) == prompt_offsets(two)
    assert None is prompt_offsets(two[2:])


def samples(*readings: tuple[int, float]) -> list[Sample]:
    return [Sample(t_ns=t, source="metrics", values={GENERATED: value}) for t, value in readings]


def test_a_counter_grows_between_its_readings_evenly() -> None:
    """Half of the first second and all of the next."""
    read = samples((0, 100.0), (10, 200.0), (20, 400.0))

    assert 250.0 == counter_growth(read, GENERATED, 5, 20)


def test_a_counter_that_falls_has_begun_anew() -> None:
    """No negative growth."""
    assert 150.0 == counter_growth(samples((0, 100.0), (10, 200.0), (20, 0.0), (30, 50.0)), GENERATED, 0, 30)


S = 10**9


@pytest.mark.parametrize(
    "read", [samples(), samples((5 * S, 1.0), (20 * S, 9.0)), samples((0, 1.0), (18 * S, 9.0))]
)
def test_a_counter_that_was_not_read_near_both_ends_is_unknown(read: list[Sample]) -> None:
    """Two seconds without a reading are too many."""
    assert None is counter_growth(read, GENERATED, 3 * S, 20 * S)


def test_a_period_of_telemetry_may_be_missing_at_either_end() -> None:
    """Nothing is guessed beyond the readings; the verdict's bound allows for it."""
    assert 8.0 == counter_growth(samples((4 * S, 1.0), (19 * S, 9.0)), GENERATED, 3 * S, 20 * S)
