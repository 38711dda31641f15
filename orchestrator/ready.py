"""The readiness ladder: alive on every poll, then port, health and the right model, within a deadline.

A dead engine is reported at the next poll with its exit code and last log lines, never waited out.
"""

from __future__ import annotations

import math
import re
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_exponential

from backends.contract import FailureCause, FailureSignature, Readback, ReadySpec
from orchestrator.domain.failure import classify
from orchestrator.errors import CellError
from orchestrator.runtime.interface import Deployment, Runtime, State

POLL_MIN_S = 0.1
POLL_MAX_S = 1.0
POLL_GROWTH = 1.2  # an engine that is up after t seconds is found within a fifth of t
PROBE_S = 5.0
TAIL_BYTES = 16_384
TAIL_LINES = 30


class NotYet(Exception):  # noqa: N818 - the state of every engine that still loads
    """The ladder stands below its top; the text names the rung. `answered`: it says so itself."""

    def __init__(self, rung: str, *, answered: bool = False) -> None:
        super().__init__(rung)
        self.answered = answered


@dataclass(frozen=True, slots=True)
class Ladder:
    """What has to hold before an engine may be measured. One whose log does not grow and which answers nothing for
    `silence_s` hangs."""

    spec: ReadySpec
    served_name: str
    signatures: Sequence[FailureSignature]
    silence_s: float = math.inf


def wait_until_ready(
    runtime: Runtime,
    deployment: Deployment,
    ladder: Ladder,
    *,
    progress: Callable[[str], None],
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Return when the engine serves the model. CellError when it died, or never will, or in time did not."""
    said = ""
    silence = _Silence(deployment, ladder)

    def climb() -> None:
        nonlocal said
        try:
            _climb(http, runtime, deployment, ladder)
        except NotYet as rung:
            silence.require_life(rung)
            if str(rung) != said:
                said = str(rung)
                progress(said)
            raise

    retrying = Retrying(
        retry=retry_if_exception_type(NotYet),
        wait=wait_exponential(multiplier=POLL_MIN_S, max=POLL_MAX_S, exp_base=POLL_GROWTH),
        stop=stop_after_delay(ladder.spec.deadline_s),
        sleep=sleep,
        reraise=True,
    )
    with httpx.Client(base_url=deployment.url, timeout=PROBE_S, trust_env=False) as http:
        try:
            retrying(climb)
        except NotYet as rung:
            log_tail = tail(deployment.log_path)
            cause, hint = _cause_of_lateness(deployment, ladder, FailureCause.DEADLINE)
            message = f"not ready after {ladder.spec.deadline_s:g} s: {rung}"
            raise CellError(message, hint=hint, cause=cause, log_tail=log_tail) from rung


class _Silence:
    """How long an engine has neither said nor answered anything."""

    def __init__(self, deployment: Deployment, ladder: Ladder) -> None:
        self._deployment = deployment
        self._ladder = ladder
        self._log_bytes = -1
        self._heard_s = time.monotonic()

    def require_life(self, rung: NotYet) -> None:
        """CellError once it has been silent for too long."""
        log_path = self._deployment.log_path
        log_bytes = log_path.stat().st_size if log_path.exists() else 0
        if rung.answered or log_bytes != self._log_bytes:
            self._log_bytes, self._heard_s = log_bytes, time.monotonic()
            return
        silent_s = time.monotonic() - self._heard_s
        if silent_s <= self._ladder.silence_s:
            return
        cause, hint = _cause_of_lateness(self._deployment, self._ladder, FailureCause.HUNG)
        raise CellError(
            f"it runs, and for {silent_s:.0f} s it has neither written to its log nor answered: {rung}",
            hint=hint,
            cause=cause,
            log_tail=tail(log_path),
        )


def require_alive(runtime: Runtime, deployment: Deployment, signatures: Sequence[FailureSignature]) -> None:
    """CellError with exit code, cause and log tail when the engine has died."""
    state = runtime.state(deployment)
    if state.running:
        return
    cause, hint = _cause(state, deployment, signatures)
    log_tail = tail(deployment.log_path)
    code = "without an exit code" if state.exit_code is None else f"with exit code {state.exit_code}"
    told = f"the engine died {code} ({cause.value}){state.why and f': {state.why}'}"
    raise CellError(told, hint=hint, cause=cause, log_tail=log_tail)


def tail(log_path: Path) -> str:
    """The last lines of an engine's log, for a person to read."""
    return "\n".join(recent(log_path).splitlines()[-TAIL_LINES:])


def effective(deployment: Deployment, readbacks: Sequence[Readback]) -> dict[str, str]:
    """Settings in force as the engine's log and pages tell them; the last mention counts, and what is not
    found is not in it."""
    log_path = deployment.log_path
    texts: dict[str | None, str] = {None: log_path.read_text(errors="replace") if log_path.exists() else ""}
    with httpx.Client(base_url=deployment.url, timeout=PROBE_S, trust_env=False) as http:
        for path in {r.path for r in readbacks if r.path is not None}:
            texts[path] = _page(http, path)
    found = ((r.name, re.findall(r.pattern, texts[r.path])) for r in readbacks)
    return {name: str(values[-1]).strip() for name, values in found if values}


def _page(http: httpx.Client, path: str) -> str:
    try:
        reply = http.get(path)
    except httpx.HTTPError:
        return ""
    return reply.text if reply.is_success else ""


def _climb(http: httpx.Client, runtime: Runtime, deployment: Deployment, ladder: Ladder) -> None:
    require_alive(runtime, deployment, ladder.signatures)
    _require_hope(deployment, ladder)
    _require_port(deployment)
    _require_health(http, ladder.spec)
    _require_model(http, ladder)


def _require_hope(deployment: Deployment, ladder: Ladder) -> None:
    """An engine may live on after it has said that it will never serve."""
    said = recent(deployment.log_path)
    if any(re.search(pattern, said) for pattern in ladder.spec.fatal):
        cause, hint = _cause(State(running=True), deployment, ladder.signatures)
        message = f"the engine's log says that it will not serve ({cause.value})"
        raise CellError(message, hint=hint, cause=cause, log_tail=tail(deployment.log_path))


def _require_port(deployment: Deployment) -> None:
    try:
        socket.create_connection((deployment.host, deployment.port), timeout=PROBE_S).close()
    except OSError as error:
        raise NotYet("waiting for its port") from error


def _require_health(http: httpx.Client, spec: ReadySpec) -> None:
    try:
        reply = http.get(spec.health_path)
    except httpx.HTTPError as error:
        raise NotYet("port open, waiting for health") from error
    if not reply.is_success:
        raise NotYet(f"health says {reply.status_code}", answered=True)


def _require_model(http: httpx.Client, ladder: Ladder) -> None:
    path = ladder.spec.models_path
    if path is None:
        return
    try:
        names = [entry["id"] for entry in http.get(path).json()["data"]]
    except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
        raise NotYet("healthy, waiting for its list of models") from error
    if ladder.served_name not in names:
        raise CellError(
            f"the engine serves {', '.join(map(str, names)) or 'no model'}, not {ladder.served_name!r}",
            hint="another program may answer on this port; see the engine's log",
            cause=FailureCause.MODEL_FILES,
            log_tail="",
        )


def _cause_of_lateness(
    deployment: Deployment, ladder: Ladder, otherwise: FailureCause
) -> tuple[FailureCause, str]:
    """What its log proves, else what was seen of it."""
    cause, hint = _cause(State(running=True), deployment, ladder.signatures)
    return (otherwise if cause is FailureCause.UNKNOWN else cause), hint


def _cause(
    state: State, deployment: Deployment, signatures: Sequence[FailureSignature]
) -> tuple[FailureCause, str]:
    return classify(
        exit_code=state.exit_code,
        oom_killed=state.oom_killed,
        log=recent(deployment.log_path),
        signatures=signatures,
    )


def recent(log_path: Path) -> str:
    """What the log said last, with the cause that may stand above a long traceback; empty where there is none."""
    if not log_path.exists():
        return ""
    with log_path.open("rb") as file:
        file.seek(max(0, log_path.stat().st_size - TAIL_BYTES))
        return file.read().decode(errors="replace")
