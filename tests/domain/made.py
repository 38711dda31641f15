"""Exchanges and spans made by hand, in seconds after an arbitrary start of CLOCK_MONOTONIC."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from orchestrator.domain.exchange import Exchange, Outcome
from orchestrator.domain.windows import Span

START_NS = 5_000_000_000_000


def ns(seconds: float) -> int:
    return START_NS + round(seconds * 1e9)


def span(*, steady_s: float = 10, end_s: float = 20) -> Span:
    return Span(start_ns=START_NS, steady_ns=ns(steady_s), end_ns=ns(end_s))


def exchange(
    send_s: float,
    tokens_s: Sequence[float] = (),
    *,
    end_s: float | None = None,
    outcome: Outcome = Outcome.OK,
    user: int = 0,
    completion_tokens: int | None = None,
) -> Exchange:
    """An exchange whose events with content arrive at `tokens_s`; it ends with the last unless said."""
    end = end_s if end_s is not None else max(tokens_s, default=send_s)
    return Exchange(
        id=f"u{user}-{send_s}",
        user=user,
        prompt=0,
        send_ns=ns(send_s),
        end_ns=ns(end),
        outcome=outcome,
        headers_ns=ns(tokens_s[0]) if tokens_s else 0,
        first_event_ns=ns(tokens_s[0]) if tokens_s else 0,
        first_token_ns=ns(tokens_s[0]) if tokens_s else 0,
        first_visible_ns=ns(tokens_s[0]) if tokens_s else 0,
        event_ns=np.array([ns(t) for t in tokens_s], np.int64),
        event_tokens=np.ones(len(tokens_s), np.int32),
        finish_reason="stop" if outcome is Outcome.OK else "",
        prompt_tokens=40,
        completion_tokens=completion_tokens,
    )


def shifted(x: Exchange, offset_ns: int, *, user: int | None = None) -> Exchange:
    """The same exchange at another time. A time that never came stays 0."""
    names = (
        "send_ns",
        "end_ns",
        "headers_ns",
        "first_event_ns",
        "first_token_ns",
        "first_visible_ns",
        "scheduled_ns",
    )
    times: dict[str, Any] = {n: t + offset_ns for n in names if (t := getattr(x, n))}
    who = x.user if user is None else user
    return dataclasses.replace(x, user=who, event_ns=x.event_ns + offset_ns, **times)
