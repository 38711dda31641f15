"""What the article's client would have printed, worked out on paper."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

import numpy as np
import pytest

from orchestrator.domain.article import Article, LiteralSample, article, literal_tokens, ping_s
from orchestrator.domain.exchange import Exchange, Outcome
from orchestrator.domain.metrics import summarise
from tests.domain.made import exchange, span


def chunks(x: Exchange, literal: Sequence[int]) -> Exchange:
    return dataclasses.replace(x, literal_tokens=np.array(literal, np.int64))


# In the ramp: two tokens, the second white space. Steady: four tokens, one of which is two when tokenised alone.
RAMP = chunks(exchange(1, (3, 4)), (1, 0))
STEADY = chunks(exchange(11, (12, 13, 14, 16)), (1, 2, 1, 1))


def literal(*exchanges: Exchange, pings_s: Sequence[float] = ()) -> Article:
    ours = summarise(exchanges, span(), window_s=5)
    return article(exchanges, span(), ours, pings_s)


@pytest.mark.parametrize(
    ("count", "text"), [(1, " the"), (0, "\n\n"), (0, ""), (3, " two words "), (1, "word\n\n")]
)
def test_a_chunk_is_stripped_before_it_is_tokenised(count: int, text: str) -> None:
    """White space alone is no token there."""
    assert count == literal_tokens(
        text, lambda stripped: [len(piece) for piece in re.findall(r"\s+|\w+", stripped)]
    )


def test_averages_go_over_everything() -> None:
    """Six tokens by its count in twenty seconds, ramp included, and the mean TTFT of both requests."""
    found = literal(RAMP, STEADY)

    assert (0.3, 1.5) == (found.tokens_per_s, found.ttft_s.mean)
    assert (2, 4.0) == (found.latency_s.n, found.latency_s.mean)
    assert 0.1 == found.requests_per_s


def test_every_five_seconds_the_mean_of_five_buckets_is_printed() -> None:
    """A chunk counts in the second in which it came."""
    assert (0.2, 0.0, 0.8, 0.2) == literal(RAMP, STEADY).printed_per_s


def test_the_parts_of_the_difference_add_up() -> None:
    """From 0.4 steady: minus 0.1 by the ramp, minus 0.05 for white space, plus 0.05 tokenised in pieces."""
    found = literal(RAMP, STEADY)
    parts = found.rate_difference

    assert parts is not None
    assert pytest.approx([0.4, -0.1]) == [parts.ours_per_s, parts.ramp_per_s]
    assert (-0.05, 0.05) == (parts.stripped_per_s, parts.retokenised_per_s)
    assert found.tokens_per_s == pytest.approx(sum(parts.model_dump().values()))


def test_ttft_is_corrected_by_pings_less_five_milliseconds() -> None:
    """On a fast network that makes it longer."""
    found = literal(RAMP, STEADY, pings_s=(0.001, 0.003))
    parts = found.ttft_difference

    assert pytest.approx([-0.003, 0.0]) == [ping_s((0.001, 0.003)), ping_s(())]
    assert pytest.approx(1.503) == found.ttft_s.mean
    assert parts is not None
    assert pytest.approx([1.0, 0.5, 0.003]) == [parts.ours_s, parts.ramp_s, parts.ping_s]


def test_requests_in_flight_at_the_end_are_dropped() -> None:
    """Their tokens and first chunks count, their latency does not exist."""
    cut = chunks(exchange(18, (19,), end_s=20, outcome=Outcome.CUT), (1,))
    found = literal(STEADY, cut)

    assert (1, 1, 2) == (found.dropped, found.latency_s.n, found.ttft_s.n)
    assert 0.3 == found.tokens_per_s


def test_a_bad_status_counts_as_a_request_and_a_broken_stream_does_not() -> None:
    """It had a latency in its report; the other ended the user unseen."""
    refused = exchange(12, end_s=12.5, outcome=Outcome.HTTP_STATUS)
    broken = chunks(exchange(13, (14,), end_s=15, outcome=Outcome.DISCONNECT), (1,))
    found = literal(STEADY, refused, broken)

    assert (2, 0.1) == (found.latency_s.n, found.requests_per_s)


def test_chunks_that_nobody_tokenised_again_have_no_literal_rate() -> None:
    """Nothing is guessed; TTFT needs no tokens."""
    found = literal(STEADY, exchange(12, (13,)))

    assert (None, (), None) == (found.tokens_per_s, found.printed_per_s, found.rate_difference)
    assert 1.0 == found.ttft_s.mean


def test_nothing_at_all_has_no_figures() -> None:
    """No exchange, no claim."""
    found = literal()

    assert (None, LiteralSample(n=0), None) == (found.tokens_per_s, found.ttft_s, found.ttft_difference)
