"""Whether a cell's figures may be believed, with reasons. Pure."""

from __future__ import annotations

from enum import Enum

from backends.contract import Value
from orchestrator.domain.metrics import Metrics

MAX_ERROR_SHARE_SUSPECT = 0.01
MAX_ERROR_SHARE_INVALID = 0.5
MIN_REQUESTS = 5
MAX_CLIENT_CPU_SHARE = 0.8


class Level(str, Enum):
    VALID = "valid"
    SUSPECT = "suspect"
    INVALID = "invalid"


class Reason(str, Enum):
    """Why a cell is not simply valid."""

    NO_TOKENS = "no-tokens"
    ERRORS = "errors"
    FEW_REQUESTS = "few-requests"
    USERS_MISSING = "users-missing"
    CLIENT_SATURATED = "client-saturated"


class Finding(Value):
    reason: Reason
    level: Level
    text: str


class Verdict(Value):
    level: Level
    findings: tuple[Finding, ...] = ()


def judge(metrics: Metrics, *, users: int) -> Verdict:
    """The verdict over a cell's metrics: the worst level among its findings."""
    findings = tuple(f for f in _findings(metrics, users) if f is not None)
    order = (Level.VALID, Level.SUSPECT, Level.INVALID)
    worst = max((f.level for f in findings), key=order.index, default=Level.VALID)
    return Verdict(level=worst, findings=findings)


def _findings(m: Metrics, users: int) -> tuple[Finding | None, ...]:
    return (_tokens(m), _errors(m), _requests(m), _users(m, users), _client(m))


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


def _requests(m: Metrics) -> Finding | None:
    if m.completed >= MIN_REQUESTS:
        return None
    text = f"only {m.completed} requests ended in the measured window, {MIN_REQUESTS} are needed"
    return Finding(reason=Reason.FEW_REQUESTS, level=Level.SUSPECT, text=text)


def _users(m: Metrics, users: int) -> Finding | None:
    if m.active_users_mean >= 0.95 * users:
        return None
    text = f"{m.active_users_mean:.1f} of {users} users had a request in flight on average"
    return Finding(reason=Reason.USERS_MISSING, level=Level.SUSPECT, text=text)


def _client(m: Metrics) -> Finding | None:
    if m.client_cpu_share <= MAX_CLIENT_CPU_SHARE:
        return None
    text = f"the load client used {m.client_cpu_share:.0%} of a core: it may be what was measured"
    return Finding(reason=Reason.CLIENT_SATURATED, level=Level.SUSPECT, text=text)
