"""The figures of one request, and what counts as good."""

from __future__ import annotations

import pytest

from orchestrator.domain.exchange import Outcome
from orchestrator.domain.metrics import Asked, summarise
from orchestrator.domain.request import Slo, normalized_latency_s, ttft_s
from tests.domain.made import exchange, span

# TTFT 0.5 s, TPOT 1 s, latency 2.5 s
ANSWER = exchange(11, (11.5, 12.5, 13.5))


def test_latency_is_shared_out_over_all_tokens() -> None:
    """Waiting included; without a token there is nothing to share it."""
    assert pytest.approx(2.5 / 3) == normalized_latency_s(ANSWER)
    assert None is normalized_latency_s(exchange(11, end_s=12))
    assert None is ttft_s(exchange(11, end_s=12))


@pytest.mark.parametrize(
    ("good", "slo"),
    [
        (0.1, Slo()),
        (0.1, Slo(ttft_s=0.5, tpot_s=1.0, latency_s=2.5)),
        (0.0, Slo(ttft_s=0.4)),
        (0.0, Slo(tpot_s=0.9)),
        (0.0, Slo(latency_s=2.4)),
        (None, None),
    ],
)
def test_goodput_counts_requests_that_keep_every_limit(good: float | None, slo: Slo | None) -> None:
    """One request in ten seconds; without limits there is no goodput."""
    m = summarise([ANSWER], span(), window_s=5, asked=Asked(slo=slo))

    assert (good, slo) == (m.goodput_per_s, m.slo)


def test_a_failed_request_is_never_good() -> None:
    """However fast it failed."""
    failed = exchange(11, (11.1,), end_s=11.2, outcome=Outcome.ENGINE_ERROR)

    assert 0.0 == summarise([failed], span(), window_s=5, asked=Asked(slo=Slo())).goodput_per_s


def test_prompts_have_a_rate_too() -> None:
    """Forty prompt tokens in ten seconds, counted where their first token came."""
    early = exchange(8, (9, 12), end_s=12)

    assert 4.0 == summarise([ANSWER, early], span(), window_s=5).prompt_tokens_per_s
    assert None is summarise([], span(), window_s=5).prompt_tokens_per_s


def test_failures_without_a_token_are_in_the_second_column() -> None:
    """One that failed after its first token has its TTFT; its latency is infinite all the same."""
    mute = exchange(11, end_s=12, outcome=Outcome.TIMEOUT)
    broken = exchange(11, (12,), end_s=13, outcome=Outcome.DISCONNECT)
    m = summarise([ANSWER, mute, broken], span(), window_s=5)

    assert (2, 1) == (m.ttft_s.n, m.ttft_s.failed)
    assert [2, 2, 2] == [m.latency_s.failed, m.tpot_s.failed, m.normalized_latency_s.failed]
