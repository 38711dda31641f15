"""Each finding has a case on either side of its limit."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.domain.exchange import Exchange, Outcome
from orchestrator.domain.metrics import Distribution, Metrics, distribution, summarise
from orchestrator.domain.verdict import Level, Reason, Verdict, judge
from tests.domain.made import exchange, span


def good(**changes: Any) -> Metrics:
    """A cell of two users without any fault, changed as asked."""
    clean = [
        exchange(at, (at + 0.5, at + 0.9), end_s=at + 1, user=user)
        for user in range(2)
        for at in (0.0, *range(1, 20))
    ]
    return summarise(clean, span(), window_s=5).model_copy(update=changes)


def reasons(verdict: Verdict) -> list[Reason]:
    return [f.reason for f in verdict.findings]


def test_a_clean_cell_is_valid() -> None:
    """No findings, no mark."""
    assert Verdict(level=Level.VALID) == judge(good(), users=2)


@pytest.mark.parametrize(
    ("changes", "reason", "level"),
    [
        ({"tokens_per_s": 0.0}, Reason.NO_TOKENS, Level.INVALID),
        ({"error_share": 0.011, "errors": {"timeout": 1}}, Reason.ERRORS, Level.SUSPECT),
        ({"error_share": 0.51, "errors": {"timeout": 1}}, Reason.ERRORS, Level.INVALID),
        ({"completed": 4}, Reason.FEW_REQUESTS, Level.SUSPECT),
        ({"present_users_mean": 1.89}, Reason.USERS_MISSING, Level.SUSPECT),
        ({"unanswered": 1, "unanswered_wait_max_s": 0.51}, Reason.STILL_WAITING, Level.SUSPECT),
        ({"tokens_per_event": 0.94}, Reason.COUNTS_DISAGREE, Level.SUSPECT),
        ({"silence_max_s": 2.1}, Reason.ENGINE_SILENT, Level.SUSPECT),
        ({"client_late_s": distribution([0.0251])}, Reason.CLIENT_LATE, Level.SUSPECT),
        ({"client_cpu_share": 0.81}, Reason.CLIENT_SATURATED, Level.SUSPECT),
    ],
)
def test_each_fault_is_found(changes: dict[str, Any], reason: Reason, level: Level) -> None:
    """One fault alone gives its reason and its level."""
    verdict = judge(good(**changes), users=2)

    assert (level, True) == (verdict.level, reason in reasons(verdict))


@pytest.mark.parametrize(
    "changes",
    [
        {"error_share": 0.01},
        {"completed": 5},
        {"present_users_mean": 1.9},
        {"active_users_mean": 0.5},
        {"unanswered": 1, "unanswered_wait_max_s": 0.5},
        {"tokens_per_event": 0.95},
        {"tokens_per_event": 4.0},
        {"tokens_per_event": None},
        {"client_cpu_share": 0.8},
        {"silence_max_s": 2.0},
        {"silence_max_s": 9.9, "ttft_s": distribution([5.0])},
        {"client_late_s": distribution([0.025])},
    ],
)
def test_what_lies_within_the_limits_is_no_fault(changes: dict[str, Any]) -> None:
    """The limits themselves are allowed; short answers with long thinking are too."""
    assert Level.VALID == judge(good(**changes), users=2).level


def test_the_worst_finding_decides() -> None:
    """A suspect and an invalid finding make an invalid cell, and both are told."""
    verdict = judge(good(error_share=0.9, errors={"connect": 9}, client_cpu_share=1.0), users=2)

    assert Level.INVALID == verdict.level
    assert [Reason.ERRORS, Reason.CLIENT_SATURATED] == reasons(verdict)
    assert "90.0% of requests failed: 9 connect" == verdict.findings[0].text


def test_failures_in_the_ramp_make_a_cell_suspect() -> None:
    """The headline does not see them; the verdict does."""
    stumbles = [exchange(2, end_s=3, outcome=Outcome.HTTP_STATUS) for _ in range(3)]
    m = summarise([*_clean(), *stumbles], span(), window_s=5)

    assert 0.0 == m.error_share
    assert [Reason.ERRORS_IN_RAMP] == reasons(judge(m, users=1))
    assert "3 of 12 requests failed in the ramp" in judge(m, users=1).findings[0].text


def test_errors_of_the_steady_window_are_not_the_ramps() -> None:
    """They have a reason of their own."""
    failed = [exchange(at + 0.2, end_s=at + 0.3, outcome=Outcome.TIMEOUT, user=1) for at in range(10, 20)]
    m = summarise([*_clean(), *failed], span(), window_s=5)

    assert Reason.ERRORS in reasons(judge(m, users=1))
    assert Reason.ERRORS_IN_RAMP not in reasons(judge(m, users=1))


def test_wait_no_longer_than_one_that_was_seen_is_no_finding() -> None:
    """The longest TTFT is what counts, not the mean."""
    ttft_s = Distribution(n=10, mean=0.5, max=3.0)

    assert Verdict(level=Level.VALID) == judge(
        good(unanswered=1, unanswered_wait_max_s=2.9, ttft_s=ttft_s), users=2
    )


def test_one_late_waking_of_many_is_no_finding() -> None:
    """The 95th percentile is judged where there is one."""
    late_s = distribution([0.0] * 199 + [0.5])

    assert Verdict(level=Level.VALID) == judge(good(client_late_s=late_s), users=2)


def test_nothing_at_all_is_invalid() -> None:
    """A cell without exchanges says all that is wrong with it."""
    verdict = judge(summarise([], span(), window_s=5), users=1)

    assert Level.INVALID == verdict.level
    expected = [Reason.NO_TOKENS, Reason.FEW_REQUESTS, Reason.USERS_MISSING, Reason.ENGINE_SILENT]

    assert expected == reasons(verdict)


def test_an_engine_that_never_answers_is_found_waiting() -> None:
    """Without any first token, every wait is longer than what was seen."""
    m = summarise([exchange(1, end_s=20, outcome=Outcome.CUT)], span(), window_s=5)

    assert (0, Distribution(n=0)) == (m.completed, m.ttft_s)
    assert Reason.STILL_WAITING in reasons(judge(m, users=1))


def _clean() -> list[Exchange]:
    return [exchange(at, (at + 0.5, at + 0.9), end_s=at + 1) for at in range(20)]
