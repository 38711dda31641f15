"""Each finding has a case on either side of its limit."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.domain.counts import PromptOffsets, TokenCounts
from orchestrator.domain.distribution import Distribution, distribution
from orchestrator.domain.evidence import Apart, Evidence, Xid
from orchestrator.domain.exchange import Exchange, Outcome
from orchestrator.domain.metrics import Metrics, summarise
from orchestrator.domain.reasons import TEXTS, Level, Reason
from orchestrator.domain.stationarity import Drift, Figure, Shape, Stationarity
from orchestrator.domain.verdict import Verdict, judge
from orchestrator.domain.windows import SteadyRule
from tests.domain.made import exchange, span


def good(**changes: Any) -> Metrics:
    """A cell of two users without any fault, changed as asked."""
    clean = [
        exchange(at, (at + 0.5, at + 0.9), end_s=at + 1, user=user)
        for user in range(2)
        for at in (0.0, *range(1, 20))
    ]
    return summarise(clean, span(), window_s=5).model_copy(update=changes)


DRIFT = Drift(figure=Figure.TOKEN_RATE, shape=Shape.STEP, at_s=180, before=2400, after=1900, p=0.002)


def counts(*, stated: int | None = None, tokenizer: int | None = None) -> TokenCounts:
    return TokenCounts(
        requests=9,
        usage=1000,
        events=1000,
        stated=stated,
        tokenizer=tokenizer,
        tokenizer_usage=1000,
        delivered=1000.0,
        unfinished=0.0,
    )


def offsets(least: int, most: int) -> PromptOffsets:
    return PromptOffsets(requests=9, least=least, mean=(least + most) / 2, most=most)


def reasons(verdict: Verdict) -> list[Reason]:
    return [f.reason for f in verdict.findings]


def test_a_clean_cell_is_valid() -> None:
    """No findings, no mark."""
    verdict = judge(good(), users=2)

    assert (Level.VALID, ()) == (verdict.level, verdict.findings)


@pytest.mark.parametrize(
    ("changes", "reason", "level"),
    [
        ({"tokens_per_s": 0.0}, Reason.NO_TOKENS, Level.INVALID),
        ({"error_share": 0.011, "errors": {"timeout": 1}}, Reason.ERRORS, Level.SUSPECT),
        ({"error_share": 0.51, "errors": {"timeout": 1}}, Reason.ERRORS, Level.INVALID),
        ({"completed": 4}, Reason.FEW_REQUESTS, Level.SUSPECT),
        ({"present_users_mean": 1.89}, Reason.LOAD_NOT_REACHED, Level.SUSPECT),
        ({"users_gone": 1}, Reason.USERS_DIED, Level.SUSPECT),
        ({"stationarity": Stationarity(windows=56, drifts=(DRIFT,))}, Reason.NOT_STATIONARY, Level.SUSPECT),
        ({"token_counts": counts(stated=970)}, Reason.COUNTS_DISAGREE, Level.SUSPECT),
        ({"token_counts": counts(tokenizer=949)}, Reason.COUNTS_DISAGREE, Level.SUSPECT),
        ({"prompt_offsets": offsets(1, 1)}, Reason.PROMPT_COUNTS_DISAGREE, Level.SUSPECT),
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
        {"stationarity": Stationarity(windows=56)},
        {"token_counts": counts(stated=980, tokenizer=950)},
        {"prompt_offsets": offsets(0, 0)},
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

    assert () == judge(good(unanswered=1, unanswered_wait_max_s=2.9, ttft_s=ttft_s), users=2).findings


def test_one_late_waking_of_many_is_no_finding() -> None:
    """The 95th percentile is judged where there is one."""
    late_s = distribution([0.0] * 199 + [0.5])

    assert () == judge(good(client_late_s=late_s), users=2).findings


def test_nothing_at_all_is_invalid() -> None:
    """A cell without exchanges says all that is wrong with it."""
    verdict = judge(summarise([], span(), window_s=5), users=1)

    assert Level.INVALID == verdict.level
    expected = [Reason.NO_TOKENS, Reason.FEW_REQUESTS, Reason.LOAD_NOT_REACHED]

    assert expected == reasons(verdict)


def test_an_engine_that_never_answers_is_found_waiting() -> None:
    """Without any first token, every wait is longer than what was seen."""
    m = summarise([exchange(1, end_s=20, outcome=Outcome.CUT)], span(), window_s=5)

    assert (0, Distribution(n=0)) == (m.completed, m.ttft_s)
    assert Reason.STILL_WAITING in reasons(judge(m, users=1))


def _clean() -> list[Exchange]:
    return [exchange(at, (at + 0.5, at + 0.9), end_s=at + 1) for at in range(20)]


LOOKED_AT_ALL = Evidence(
    engine_tokens=82.0,
    gpus=1,
    throttled_share=0.0,
    foreign_processes=0,
    xids=(),
    gpus_lost=(),
    ecc_corrected=0.0,
    ecc_uncorrected=0.0,
    others_cpus=0.8,
    host_cpus=8,
    client_apart=Apart.CORES,
    natural_ends=True,
    canaries=10,
    prefix_reset=True,
)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"throttled_share": 0.011}, Reason.THROTTLED),
        ({"throttled_share": 0.2}, Reason.THROTTLED),
        ({"foreign_processes": 1}, Reason.FOREIGN_PROCESS),
        ({"xids": (Xid(gpu="gpu0", code=31),)}, Reason.XID),
        ({"ecc_corrected": 1.0}, Reason.ECC_ERRORS),
        ({"others_cpus": 0.81}, Reason.HOST_BUSY),
        ({"client_apart": Apart.THREADS}, Reason.CLIENT_NOT_APART),
        ({"client_apart": Apart.NOT}, Reason.CLIENT_NOT_APART),
        ({"canaries_differing": 4, "canary_prompts_differing": 2}, Reason.CANARIES_DIFFER),
        (
            {"canaries": 2, "canaries_differing": 2, "canary_prompts_differing": 2},
            Reason.CANARIES_DIFFER,
        ),
        ({"prefix_reset": False}, Reason.PREFIX_CACHE_KEPT),
        ({"engine_tokens": 200.0}, Reason.COUNTS_DISAGREE),
        ({"asked_per_s": 3.0}, Reason.LOAD_NOT_REACHED),
    ],
)
def test_each_piece_of_evidence_can_speak_against_a_cell(changes: dict[str, Any], reason: Reason) -> None:
    """What was looked at and found wrong is a reason."""
    verdict = judge(good(), users=2, evidence=LOOKED_AT_ALL.model_copy(update=changes))

    assert (Level.SUSPECT, [reason]) == (verdict.level, reasons(verdict))


@pytest.mark.parametrize(
    ("changes", "reason", "text"),
    [
        (
            {"throttled_share": 0.201, "throttled_by": "gpu0 hw_thermal"},
            Reason.THROTTLED,
            "a GPU was slowed down for heat or power during 20.1% of the window (gpu0 hw_thermal)",
        ),
        (
            {"foreign_processes": 2, "foreign_computing": 1, "foreign": ("process 7 python on gpu0",)},
            Reason.FOREIGN_PROCESS,
            "2 processes of others were seen on the GPUs: process 7 python on gpu0",
        ),
        (
            {"xids": (Xid(gpu="gpu0", code=31), Xid(gpu="gpu1", code=79))},
            Reason.XID,
            "the driver reported Xid 31 on gpu0, 79 on gpu1",
        ),
        ({"gpus_lost": ("gpu1",)}, Reason.GPU_LOST, "gpu1 fell off the bus"),
        (
            {"ecc_uncorrected": 1.0, "ecc_corrected": 3.0},
            Reason.ECC_ERRORS,
            "memory errors on the GPUs: 1 uncorrected, 3 corrected",
        ),
    ],
)
def test_what_breaks_a_gpu_makes_its_figures_invalid(
    changes: dict[str, Any], reason: Reason, text: str
) -> None:
    """The card itself, a stranger that computes, or a fifth of the window slowed down; said in words."""
    verdict = judge(good(), users=2, evidence=LOOKED_AT_ALL.model_copy(update=changes))

    assert (Level.INVALID, [(reason, text)]) == (
        verdict.level,
        [(f.reason, f.text) for f in verdict.findings],
    )


@pytest.mark.parametrize(
    ("gpus", "expected"),
    [
        (0, []),
        (1, [Reason.THROTTLED, Reason.FOREIGN_PROCESS, Reason.XID, Reason.GPU_LOST, Reason.ECC_ERRORS]),
    ],
)
def test_without_a_gpu_there_is_nothing_to_look_for_on_one(gpus: int, expected: list[Reason]) -> None:
    """With one that nobody looked at, that is said."""
    nobody = Evidence(gpus=gpus)
    gpu_reasons = {Reason.THROTTLED, Reason.FOREIGN_PROCESS, Reason.XID, Reason.GPU_LOST, Reason.ECC_ERRORS}
    not_checked = judge(good(), users=2, evidence=nobody).not_checked

    assert expected == [reason for reason in not_checked if reason in gpu_reasons]
    assert Reason.CLIENT_NOT_APART in not_checked


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"throttled_share": 0.01},
        {"canaries_differing": 3, "canary_prompts_differing": 2},
        {"canaries_differing": 10, "canary_prompts_differing": 1},
        {"canaries": 3, "canaries_differing": 1, "canary_prompts_differing": 1},
        {"engine_tokens": 90.0},
        {"asked_per_s": 2.0},
        {"natural_ends": False},
    ],
)
def test_evidence_within_the_limits_is_no_fault(changes: dict[str, Any]) -> None:
    """Neither is what was looked at and found in order."""
    assert () == judge(good(), users=2, evidence=LOOKED_AT_ALL.model_copy(update=changes)).findings


@pytest.mark.parametrize(("lag_s", "found"), [(0.025, []), (0.026, [Reason.CLIENT_LAG])])
def test_a_client_that_reads_late_was_measured_itself(lag_s: float, found: list[Reason]) -> None:
    """From a twentieth of the TTFT on, which is 0.5 s here."""
    late = good(client_lag_s=distribution([lag_s]))

    assert found == reasons(judge(late, users=2, evidence=LOOKED_AT_ALL))


def test_answers_that_end_at_their_limit_are_a_fault_only_where_they_should_end_themselves() -> None:
    """A workload of fixed lengths ends all its answers so."""
    cut = good(finish_reasons={"length": 6, "stop": 14})
    seen = {
        natural: judge(cut, users=2, evidence=Evidence(natural_ends=natural)) for natural in (True, False)
    }

    assert [Reason.OUTPUTS_CUT] == reasons(seen[True])
    assert "30% of the answers ended at their limit, not by themselves" == seen[True].findings[0].text
    assert [] == reasons(seen[False])


@pytest.mark.parametrize(
    ("ended", "found"),
    [
        ({"length": 99, "stop": 1}, []),
        ({"length": 98, "stop": 2}, [Reason.LENGTHS_NOT_KEPT]),
        ({"eos_token": 3}, [Reason.LENGTHS_NOT_KEPT]),
        ({"none": 50}, []),  # a dialect that does not say
    ],
)
def test_an_engine_that_ignores_ignore_eos_is_found(ended: dict[str, int], found: list[Reason]) -> None:
    """Its short answers would make it look fast."""
    m = good(finish_reasons=ended)

    assert found == reasons(judge(m, users=2, evidence=Evidence(fixed_lengths=True, natural_ends=False)))
    assert [] == reasons(judge(m, users=2, evidence=Evidence(natural_ends=False)))


def test_what_nobody_looked_at_is_said() -> None:
    """A valid cell is valid as far as it was looked at."""
    nothing = judge(good(), users=2).not_checked
    everything = judge(
        good(
            stationarity=Stationarity(windows=56),
            prompt_offsets=offsets(0, 0),
            client_lag_s=distribution([0.0001]),
        ),
        users=2,
        evidence=LOOKED_AT_ALL,
    ).not_checked

    assert (14, ()) == (len(nothing), everything)
    assert Reason.CANARIES_DIFFER in nothing


def test_an_engine_that_counts_when_requests_end_is_given_the_unfinished_ones() -> None:
    """Tokens of requests that were cut may be missing in its counter."""
    some = counts().model_copy(update={"unfinished": 200.0})
    short = Evidence(engine_tokens=800.0)

    assert [] == reasons(judge(good(token_counts=some), users=2, evidence=short))
    assert [Reason.COUNTS_DISAGREE] == reasons(judge(good(token_counts=counts()), users=2, evidence=short))


def test_the_numbers_stand_in_the_reason() -> None:
    """A reader sees by how much, not only that."""
    found = judge(good(token_counts=counts(stated=900)), users=2).findings[0]

    assert "token counts disagree: usage 1,000, stated per event 900, more than 2% apart" == found.text


@pytest.mark.parametrize(
    ("least", "most", "words"),
    [
        (1, 1, "+1 tokens each: a second begin-of-text token"),
        (-5, -5, "-5 tokens each: another template"),
        (-1, 3, "-1 to +3 tokens, +1.0 on average: another template or tokenizer"),
    ],
)
def test_prompt_counts_tell_what_is_likely(least: int, most: int, words: str) -> None:
    """One more for every prompt is the double begin-of-text token."""
    assert words in judge(good(prompt_offsets=offsets(least, most)), users=2).findings[0].text


def test_a_drift_is_told_in_words() -> None:
    """When, and from what to what."""
    found = judge(good(stationarity=Stationarity(windows=56, drifts=(DRIFT,))), users=2).findings[0]

    assert "token rate degrades after 180 s: 2,400 -> 1,900 tok/s" == found.text


def test_an_open_loop_has_no_users_to_miss() -> None:
    """Its load is a rate."""
    m = good(steady_rule=SteadyRule.OPEN_LOOP, present_users_mean=0.1)

    assert () == judge(m, users=2, evidence=Evidence(asked_per_s=2.0)).findings


MANY = tuple(w.model_copy(update={"requests_ended": 9999}) for w in good().windows)
DUE = {"completed": 95, "send_delay_s": distribution([0.001] * 200)}


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        (DUE, []),
        ({**DUE, "completed": 70}, []),  # three roots of a hundred may be in flight by chance
        ({**DUE, "completed": 69}, [Reason.FALLS_BEHIND]),
        ({**DUE, "completed": 60, "errors": {"timeout": 10}}, []),  # what failed is not waiting
        ({**DUE, "send_delay_s": distribution([0.025] * 200)}, []),
        ({**DUE, "send_delay_s": distribution([0.0] * 150 + [0.026] * 50)}, [Reason.SENT_LATE]),
        ({**DUE, "send_delay_s": distribution([0.0] * 19 + [0.4])}, []),  # one of few is no rule
        ({**DUE, "send_delay_s": distribution([0.026] * 20)}, [Reason.SENT_LATE]),
        ({**DUE, "sent_per_s": 9.4}, [Reason.LOAD_NOT_REACHED]),
    ],
)
def test_an_open_loop_must_be_sent_and_answered(changes: dict[str, Any], found: list[Reason]) -> None:
    """A hundred requests were due in ten seconds; the mean TTFT is 0.5 s."""
    m = good(**{"steady_rule": SteadyRule.OPEN_LOOP, "sent_per_s": 10.0, "windows": MANY, **changes})

    assert found == reasons(judge(m, users=1024, evidence=Evidence(asked_per_s=10.0)))


def test_a_long_open_loop_may_be_behind_by_a_twentieth() -> None:
    """Where there are so many that chance makes less."""
    m = good(steady_rule=SteadyRule.OPEN_LOOP, sent_per_s=1000.0, completed=9499, windows=MANY)

    assert [Reason.FALLS_BEHIND] == reasons(judge(m, users=1024, evidence=Evidence(asked_per_s=1000.0)))
    assert (
        ()
        == judge(
            m.model_copy(update={"completed": 9500}), users=1024, evidence=Evidence(asked_per_s=1000.0)
        ).findings
    )


def test_two_canaries_are_the_fewest_that_tell() -> None:
    """Of one that differs nobody can say why; the verdict says that nobody looked."""
    seen = {n: judge(good(), users=2, evidence=Evidence(canaries=n)).not_checked for n in (1, 2)}

    assert Reason.CANARIES_DIFFER in seen[1]
    assert Reason.CANARIES_DIFFER not in seen[2]


def test_every_reason_has_its_words() -> None:
    """One table, none missing."""
    assert list(Reason) == list(TEXTS)
