"""A load client that sends nothing: it hands back made exchanges at once and writes down what was asked."""

from __future__ import annotations

import os
from collections.abc import Callable
from types import TracebackType

from typing_extensions import Self

from backends.contract import Dialect
from orchestrator.domain.exchange import Exchange, Outcome
from orchestrator.load.client import Live, Record
from orchestrator.load.spec import LoadSpec
from tests.domain import made

CANARY = "canary"
FIVE_TOKENS_S = (0.1, 0.2, 0.3, 0.4, 0.5)


def good(user: int = 0, send_s: float = 0.0) -> Exchange:
    tokens_s = tuple(send_s + token_s for token_s in FIVE_TOKENS_S)
    return made.exchange(send_s, tokens_s, user=user, completion_tokens=5)


def bad(outcome: Outcome = Outcome.CONNECT) -> Exchange:
    return made.exchange(0.0, (), end_s=0.1, outcome=outcome)


class FakeClient:
    """Stands for LoadClient. `calls` gets every tag but those of canaries; `gives` maps a tag to its exchanges, `fail` to what it
    raises."""

    def __init__(
        self,
        calls: list[str] | None = None,
        *,
        gives: dict[str, list[Exchange]] | None = None,
        fail: dict[str, BaseException] | None = None,
    ) -> None:
        self.calls = [] if calls is None else calls
        self.specs: list[LoadSpec] = []
        self.pids = (os.getpid(),)
        self._gives = gives or {}
        self._fail = fail or {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def run(
        self,
        spec: LoadSpec,
        dialect: Dialect,
        *,
        on_live: Callable[[Live], None],
        watch: Callable[[], None],
        stop: Callable[[], bool] = lambda: False,
    ) -> Record:
        watch()
        stop()
        if spec.tag != CANARY:
            self.calls.append(spec.tag)
            self.specs.append(spec)
        if spec.tag in self._fail:
            raise self._fail[spec.tag]
        on_live(Live(elapsed_s=1.0, users=spec.users, ended=1, failed=0, tokens_per_s=5.0, ttft_s=0.1))
        # after the ramp, where figures come from
        exchanges = self._gives.get(spec.tag, [good(u, spec.ramp_s) for u in range(spec.users)])
        end_ns = made.ns(max(1.0, spec.length_s or 0.0))
        return Record(
            exchanges, made.START_NS, end_ns, client_cpu_s=0.01, client_late_s=(), client_realtime=True
        )
