"""Whether a cell's figures may be believed, with reasons. Pure."""

from __future__ import annotations

from enum import Enum

from backends.contract import Value
from orchestrator.domain.metrics import Metrics

MAX_ERROR_SHARE_SUSPECT = 0.01
MAX_ERROR_SHARE_INVALID = 0.5
MIN_REQUESTS = 5
MIN_PRESENT_SHARE = 0.95
MIN_TOKENS_PER_EVENT = 0.95
MAX_CLIENT_CPU_SHARE = 0.8
# Silence of all users at once: beyond this and twice the longest TTFT it is no waiting for first tokens.
MAX_SILENCE_S = 2.0
MAX_SILENCE_PER_TTFT = 2.0
# The client may wake late by 5 ms, or by a twentieth of the mean TTFT where that is more.
MAX_CLIENT_LATE_S = 0.005
MAX_CLIENT_LATE_SHARE = 0.05


class Level(str, Enum):
    """How far figures may be believed. INVALID ones are kept, but take part in no comparison."""

    VALID = "valid"
    SUSPECT = "suspect"
    INVALID = "invalid"


class Reason(str, Enum):
    """Why a cell is not simply valid."""

    NO_TOKENS = "no-tokens"
    ERRORS = "errors"
    ERRORS_IN_RAMP = "errors-in-ramp"
    FEW_REQUESTS = "few-requests"
    USERS_MISSING = "users-missing"
    STILL_WAITING = "still-waiting"
    ENGINE_SILENT = "engine-silent"
    COUNTS_DISAGREE = "counts-disagree"
    CLIENT_SATURATED = "client-saturated"
    CLIENT_LATE = "client-late"


class Finding(Value):
    """One reason, how bad it is, and what was seen."""

    reason: Reason
    level: Level
    text: str


class Verdict(Value):
    """The worst level among the findings, and all of them."""

    level: Level
    findings: tuple[Finding, ...] = ()


def judge(metrics: Metrics, *, users: int) -> Verdict:
    """The verdict over a cell's metrics: the worst level among its findings."""
    findings = tuple(f for f in _findings(metrics, users) if f is not None)
    order = (Level.VALID, Level.SUSPECT, Level.INVALID)
    worst = max((f.level for f in findings), key=order.index, default=Level.VALID)
    return Verdict(level=worst, findings=findings)


def _findings(m: Metrics, users: int) -> tuple[Finding | None, ...]:
    return (
        _tokens(m),
        _errors(m),
        _errors_in_ramp(m),
        _requests(m),
        _users(m, users),
        _waiting(m),
        _silence(m),
        _counts(m),
        _client(m),
        _late(m),
    )


def _tokens(m: Metrics) -> Finding | None:
    if m.tokens_per_s > 0:
        return None
    return Finding(
        reason=Reason.NO_TOKENS, level=Level.INVALID, text="no token arrived in the measured window"
    )


def _errors(m: Metrics) -> Finding | None:
    if m.error_share <= MAX_ERROR_SHARE_SUSPECT:
        return None
    level = Level.INVALID if m.error_share > MAX_ERROR_SHARE_INVALID else Level.SUSPECT
    kinds = ", ".join(f"{n} {kind}" for kind, n in sorted(m.errors.items()))
    return Finding(reason=Reason.ERRORS, level=level, text=f"{m.error_share:.1%} of requests failed: {kinds}")


def _errors_in_ramp(m: Metrics) -> Finding | None:
    """The headline counts the steady window alone; an engine that stumbled just before it is worth a look."""
    errors = sum(w.errors for w in m.windows) - sum(m.errors.values())
    completed = sum(w.requests_ended for w in m.windows) - m.completed
    if errors <= MAX_ERROR_SHARE_SUSPECT * (errors + completed):
        return None
    text = f"{errors} of {errors + completed} requests failed in the ramp, before the measured window"
    return Finding(reason=Reason.ERRORS_IN_RAMP, level=Level.SUSPECT, text=text)


def _requests(m: Metrics) -> Finding | None:
    if m.completed >= MIN_REQUESTS:
        return None
    text = f"only {m.completed} requests were completed in the measured window, {MIN_REQUESTS} are needed"
    return Finding(reason=Reason.FEW_REQUESTS, level=Level.SUSPECT, text=text)


def _users(m: Metrics, users: int) -> Finding | None:
    """Judged by presence, not by requests in flight: with short answers users think for much of the time."""
    if m.present_users_mean >= MIN_PRESENT_SHARE * users:
        return None
    text = f"{m.present_users_mean:.1f} of {users} users took part on average"
    return Finding(reason=Reason.USERS_MISSING, level=Level.SUSPECT, text=text)


def _waiting(m: Metrics) -> Finding | None:
    """A wait that outlasts every observed one means that the slowest answers were not seen at all."""
    wait_s = m.unanswered_wait_max_s
    if wait_s is None or wait_s <= (m.ttft_s.max or 0.0):
        return None
    text = (
        f"{m.unanswered} requests had no token when measuring ended, one after {wait_s:.1f} s, longer than "
        "any time to first token in the figures: those are too low"
    )
    return Finding(reason=Reason.STILL_WAITING, level=Level.SUSPECT, text=text)


def _silence(m: Metrics) -> Finding | None:
    """An engine that hangs leaves no error when the load ends before its streams count as stalled."""
    if m.silence_max_s <= max(MAX_SILENCE_S, MAX_SILENCE_PER_TTFT * (m.ttft_s.max or 0.0)):
        return None
    text = f"no token came to any user for {m.silence_max_s:.1f} s: the engine hung or paused"
    return Finding(reason=Reason.ENGINE_SILENT, level=Level.SUSPECT, text=text)


def _counts(m: Metrics) -> Finding | None:
    """An event may bundle several tokens; a token is never spread over several events."""
    if m.tokens_per_event is None or m.tokens_per_event >= MIN_TOKENS_PER_EVENT:
        return None
    text = (
        f"the engine counts {m.tokens_per_event:.2f} tokens per event with content: "
        "its token count and its stream disagree"
    )
    return Finding(reason=Reason.COUNTS_DISAGREE, level=Level.SUSPECT, text=text)


def _client(m: Metrics) -> Finding | None:
    if m.client_cpu_share <= MAX_CLIENT_CPU_SHARE:
        return None
    text = f"the load client used {m.client_cpu_share:.0%} of a core: it may be what was measured"
    return Finding(reason=Reason.CLIENT_SATURATED, level=Level.SUSPECT, text=text)


def _late(m: Metrics) -> Finding | None:
    """A client that is not given the CPU stamps late, sends late and sees tokens in heaps."""
    late_s = m.client_late_s.p95 if m.client_late_s.p95 is not None else m.client_late_s.max
    bearable_s = max(MAX_CLIENT_LATE_S, MAX_CLIENT_LATE_SHARE * (m.ttft_s.mean or 0.0))
    if late_s is None or late_s <= bearable_s:
        return None
    text = (
        f"the load client woke up to {late_s * 1e3:.0f} ms late: the host was too busy, and times are too "
        "long by as much"
    )
    return Finding(reason=Reason.CLIENT_LATE, level=Level.SUSPECT, text=text)
