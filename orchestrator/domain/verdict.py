"""Whether a cell's figures may be believed, with reasons. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import sqrt

from backends.contract import Value
from orchestrator.domain import incidents
from orchestrator.domain.canary import MIN_CANARIES, MIN_CANARY_PROMPTS, least_differing
from orchestrator.domain.counts import UNREAD_S, PromptOffsets, TokenCounts
from orchestrator.domain.distribution import Distribution
from orchestrator.domain.evidence import NOBODY_LOOKED, Evidence
from orchestrator.domain.metrics import Metrics
from orchestrator.domain.reasons import Finding, Level, Reason, finding
from orchestrator.domain.windows import SteadyRule

MAX_ERROR_SHARE_SUSPECT = 0.01
MAX_ERROR_SHARE_INVALID = 0.5
MIN_REQUESTS = 5
MIN_LOAD_SHARE = 0.95
MAX_BEHIND_SHARE = 0.05
MAX_BEHIND_ROOTS = 3.0
MIN_TOKENS_PER_EVENT = 0.95
# How far two counts of the same answers may be apart, as a share of the larger. A text that is tokenised again
# seldom gives exactly the tokens that were generated; a counter is read once a second, so that some of the span
# may be missing at either side.
MAX_APART = 0.02
MAX_APART_TOKENIZER = 0.05
COUNTER_EDGES_S = 2 * UNREAD_S
MAX_CUT_SHARE = 0.25
MAX_SHORT_SHARE = 0.01
AT_LIMIT, UNTOLD = "length", "none"  # finish reasons
MAX_CLIENT_CPU_SHARE = 0.8
# Silence of all users at once: beyond this and twice the longest TTFT it is no waiting for first tokens.
MAX_SILENCE_S = 2.0
MAX_SILENCE_PER_TTFT = 2.0
# The client may wake late by 5 ms, or by a twentieth of the mean TTFT where that is more.
MAX_CLIENT_LATE_S = 0.005
MAX_CLIENT_LATE_SHARE = 0.05
# Stamps of the client may lag behind the kernel's by this share of the median TTFT.
MAX_CLIENT_LAG_SHARE = 0.05


class Verdict(Value):
    """The worst level among the findings, all of them, and the reasons that nobody could look for."""

    level: Level
    findings: tuple[Finding, ...] = ()
    not_checked: tuple[Reason, ...] = ()

    @property
    def is_invalid(self) -> bool:
        return self.level is Level.INVALID


@dataclass(frozen=True, slots=True)
class _Case:
    m: Metrics
    users: int
    evidence: Evidence


def judge(metrics: Metrics, *, users: int, evidence: Evidence = NOBODY_LOOKED) -> Verdict:
    """The verdict over a cell: the worst level among its findings."""
    case = _Case(metrics, users, evidence)
    findings = tuple(found for check in _CHECKS for found in check(case))
    order = (Level.VALID, Level.SUSPECT, Level.INVALID)
    worst = max((f.level for f in findings), key=order.index, default=Level.VALID)
    return Verdict(level=worst, findings=findings, not_checked=_not_checked(case))


def _not_checked(case: _Case) -> tuple[Reason, ...]:
    m, seen = case.m, case.evidence
    compared = seen.engine_tokens is not None or any(
        count is not None for count in (m.token_counts.stated, m.token_counts.tokenizer)
    )
    looked = {
        Reason.NOT_STATIONARY: m.stationarity.judged,
        Reason.COUNTS_DISAGREE: compared,
        Reason.PROMPT_COUNTS_DISAGREE: m.prompt_offsets is not None,
        Reason.OUTPUTS_CUT: seen.natural_ends is not None,
        Reason.CANARIES_DIFFER: (seen.canaries or 0) >= MIN_CANARIES,
        Reason.PREFIX_CACHE_KEPT: seen.prefix_reset is not None,
        Reason.CLIENT_LAG: bool(m.client_lag_s.n),
    }
    unlooked = {reason for reason, is_so in looked.items() if not is_so}
    unlooked.update(incidents.not_looked_for(seen))
    return tuple(reason for reason in Reason if reason in unlooked)


def _tokens(case: _Case) -> Iterator[Finding]:
    if case.m.tokens_per_s <= 0:
        yield finding(Reason.NO_TOKENS, Level.INVALID)


def _errors(case: _Case) -> Iterator[Finding]:
    m = case.m
    if m.error_share > MAX_ERROR_SHARE_SUSPECT:
        level = Level.INVALID if m.error_share > MAX_ERROR_SHARE_INVALID else Level.SUSPECT
        kinds = ", ".join(f"{n} {kind}" for kind, n in sorted(m.errors.items()))
        yield finding(Reason.ERRORS, level, share=m.error_share, kinds=kinds)


def _errors_in_ramp(case: _Case) -> Iterator[Finding]:
    """The headline counts the steady window alone; an engine that stumbled just before it is worth a look."""
    m = case.m
    failed = sum(w.errors for w in m.windows) - sum(m.errors.values())
    of = failed + sum(w.requests_ended for w in m.windows) - m.completed
    if failed > MAX_ERROR_SHARE_SUSPECT * of:
        yield finding(Reason.ERRORS_IN_RAMP, failed=failed, of=of)


def _requests(case: _Case) -> Iterator[Finding]:
    if case.m.completed < MIN_REQUESTS:
        yield finding(Reason.FEW_REQUESTS, n=case.m.completed, needed=MIN_REQUESTS)


def _died(case: _Case) -> Iterator[Finding]:
    if case.m.users_gone:
        yield finding(Reason.USERS_DIED, n=case.m.users_gone, of=case.users)


def _load(case: _Case) -> Iterator[Finding]:
    """Judged by presence, not by requests in flight: with short answers users think for much of the time."""
    m, rate = case.m, case.evidence.asked_per_s
    if m.steady_rule is not SteadyRule.OPEN_LOOP and m.present_users_mean < MIN_LOAD_SHARE * case.users:
        what = "users took part on average"
        yield finding(Reason.LOAD_NOT_REACHED, got=m.present_users_mean, asked=case.users, what=what)
    if rate is not None and m.sent_per_s < MIN_LOAD_SHARE * rate:
        yield finding(
            Reason.LOAD_NOT_REACHED,
            got=m.sent_per_s,
            asked=round(rate, 2),
            what="requests per second were sent",
        )


def _sent(case: _Case) -> Iterator[Finding]:
    """That wait is part of every latency, whether the client was late or no more might be in flight."""
    m = case.m
    p95_s, mean_s = m.send_delay_s.p95, m.send_delay_s.mean or 0.0  # of few, one is no rule
    late_s, of = (mean_s, "on average") if p95_s is None else (p95_s, "p95")
    if late_s > _tolerated_s(m):
        yield finding(Reason.SENT_LATE, late_ms=late_s * 1e3, of=of)


def _behind(case: _Case) -> Iterator[Finding]:
    """An open loop that asks for more than the engine does has no steady state. By chance alone as many requests as
    the root of their number may be in flight more at the end than at the begin."""
    m = case.m
    due = (case.evidence.asked_per_s or 0.0) * m.steady_length_s
    ended = m.completed + sum(m.errors.values())
    if due - ended > max(MAX_BEHIND_SHARE * due, MAX_BEHIND_ROOTS * sqrt(due)):
        yield finding(Reason.FALLS_BEHIND, due=due, ended=f"{ended:,}")


def _waiting(case: _Case) -> Iterator[Finding]:
    """A wait that outlasts every observed one means that the slowest answers were not seen at all."""
    wait_s = case.m.unanswered_wait_max_s
    if wait_s is not None and wait_s > (case.m.ttft_s.max or 0.0):
        yield finding(Reason.STILL_WAITING, n=case.m.unanswered, wait_s=wait_s)


def _silence(case: _Case) -> Iterator[Finding]:
    """An engine that hangs leaves no error when the load ends before its streams count as stalled."""
    silence_s = case.m.silence_max_s
    if silence_s > max(MAX_SILENCE_S, MAX_SILENCE_PER_TTFT * (case.m.ttft_s.max or 0.0)):
        yield finding(Reason.ENGINE_SILENT, silence_s=silence_s)


def _drifts(case: _Case) -> Iterator[Finding]:
    if case.m.stationarity.drifts:
        yield finding(Reason.NOT_STATIONARY, drifts=case.m.stationarity.text)


def _counts(case: _Case) -> Iterator[Finding]:
    """One finding with everything that is too far apart."""
    m = case.m
    apart = [*_apart_answers(m.token_counts), *_apart_engine(m, case.evidence.engine_tokens)]
    if m.tokens_per_event is not None and m.tokens_per_event < MIN_TOKENS_PER_EVENT:
        # an event may bundle several tokens; a token is never spread over several events
        apart.append(f"the engine counts {m.tokens_per_event:.2f} tokens per event with content")
    if apart:
        yield finding(Reason.COUNTS_DISAGREE, counts="; ".join(apart))


def _apart_answers(counts: TokenCounts) -> Iterator[str]:
    for name, count, usage, bound in (
        ("stated per event", counts.stated, counts.usage, MAX_APART),
        ("by the tokenizer", counts.tokenizer, counts.tokenizer_usage, MAX_APART_TOKENIZER),
    ):
        if count is not None and _apart(usage, count) > bound:
            yield f"usage {usage:,}, {name} {count:,}, more than {bound:.0%} apart"


def _apart_engine(m: Metrics, engine: float | None) -> Iterator[str]:
    """An engine may count a request when it ends, so those that never did may be missing."""
    counts, length_s = m.token_counts, sum(w.length_s for w in m.windows)
    if engine is None or not counts.delivered or not length_s:
        return
    bound = MAX_APART + COUNTER_EDGES_S / length_s + counts.unfinished / counts.delivered
    if _apart(engine, counts.delivered) > bound:
        yield f"received {counts.delivered:,.0f}, the engine's counter {engine:,.0f}, more than {bound:.0%} apart"


def _apart(one: float, other: float) -> float:
    return abs(one - other) / max(one, other) if one != other else 0.0


def _prompts(case: _Case) -> Iterator[Finding]:
    offsets = case.m.prompt_offsets
    if offsets is not None and (offsets.least or offsets.most):
        yield finding(Reason.PROMPT_COUNTS_DISAGREE, offsets=_offset(offsets))


def _offset(offsets: PromptOffsets) -> str:
    if offsets.least != offsets.most:
        return (
            f"{offsets.least:+d} to {offsets.most:+d} tokens, {offsets.mean:+.1f} on average: another template or "
            "tokenizer"
        )
    likely = "a second begin-of-text token" if offsets.least == 1 else "another template"
    return f"{offsets.least:+d} tokens each: {likely}"


def _cut(case: _Case) -> Iterator[Finding]:
    reasons = case.m.finish_reasons
    share = reasons.get(AT_LIMIT, 0) / max(1, sum(reasons.values()))
    if case.evidence.natural_ends and share > MAX_CUT_SHARE:
        yield finding(Reason.OUTPUTS_CUT, share=share)


def _lengths(case: _Case) -> Iterator[Finding]:
    """An engine that is told to ignore the end of an answer may end it all the same, and look faster."""
    reasons = case.m.finish_reasons
    told = {reason: n for reason, n in reasons.items() if reason != UNTOLD}
    short = sum(n for reason, n in told.items() if reason != AT_LIMIT)
    if case.evidence.fixed_lengths and short > MAX_SHORT_SHARE * sum(told.values()):
        yield finding(Reason.LENGTHS_NOT_KEPT, n=short, of=sum(told.values()))


def _canaries(case: _Case) -> Iterator[Finding]:
    n, differing = case.evidence.canaries or 0, case.evidence.canaries_differing
    if case.evidence.canary_prompts_differing >= MIN_CANARY_PROMPTS and differing >= least_differing(n):
        yield finding(Reason.CANARIES_DIFFER, differing=differing, n=n)


def _prefix(case: _Case) -> Iterator[Finding]:
    if case.evidence.prefix_reset is False:
        yield finding(Reason.PREFIX_CACHE_KEPT)


def _incidents(case: _Case) -> Iterator[Finding]:
    yield from incidents.findings(case.evidence)


def _client(case: _Case) -> Iterator[Finding]:
    if case.m.client_cpu_share > MAX_CLIENT_CPU_SHARE:
        yield finding(Reason.CLIENT_SATURATED, share=case.m.client_cpu_share)


def _late(case: _Case) -> Iterator[Finding]:
    """A client that is not given the CPU stamps late, sends late and sees tokens in heaps."""
    m = case.m
    late_s = _upper(m.client_late_s.p95, m.client_late_s)
    if late_s > _tolerated_s(m):
        yield finding(Reason.CLIENT_LATE, late_ms=late_s * 1e3)


def _lag(case: _Case) -> Iterator[Finding]:
    lag, ttft_s = case.m.client_lag_s, case.m.ttft_s.p50 or case.m.ttft_s.mean
    if not ttft_s:
        return
    share = _upper(lag.p99, lag) / ttft_s
    if share > MAX_CLIENT_LAG_SHARE:
        yield finding(Reason.CLIENT_LAG, lag_ms=share * ttft_s * 1e3, share=share)


def _tolerated_s(m: Metrics) -> float:
    """How late the client may wake, or send."""
    return max(MAX_CLIENT_LATE_S, MAX_CLIENT_LATE_SHARE * (m.ttft_s.mean or 0.0))


def _upper(percentile: float | None, of: Distribution) -> float:
    """The percentile where there is one, else the maximum; 0 without samples."""
    return percentile if percentile is not None else (of.max or 0.0)


_CHECKS: tuple[Callable[[_Case], Iterator[Finding]], ...] = (
    _tokens,
    _errors,
    _errors_in_ramp,
    _requests,
    _died,
    _load,
    _sent,
    _behind,
    _waiting,
    _silence,
    _drifts,
    _counts,
    _prompts,
    _cut,
    _lengths,
    _canaries,
    _prefix,
    _incidents,
    _client,
    _late,
    _lag,
)
