"""Tells somebody of a run: a webhook, and the page of a CI job. It never fails a run: what cannot be told is said on
the console. A webhook's address is a secret: of it only the host is ever printed, and nothing is stored.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from orchestrator.report import summary as report
from orchestrator.report import webhook
from orchestrator.report.summary import Summary

WEBHOOK = "LEVELBENCH_WEBHOOK"  # the variable that holds the address, where a matrix names no other
ATTEMPTS = 3
TIMEOUT_S = 10.0
WAIT_S = 2.0  # before the second attempt; then twice that
MAX_WAIT_S = 15.0  # also where the receiver asks for more
LONGEST_S = (
    ATTEMPTS * 2 * TIMEOUT_S + (ATTEMPTS - 1) * MAX_WAIT_S
)  # connecting and answering have a time each
STEP_SUMMARY_BYTES = 1_000_000  # GitHub drops a page of more than 1 MiB


@dataclass(frozen=True, slots=True)
class Told:
    """Whom to tell. `webhook` is an address that takes a JSON body, told of every run or of trouble alone;
    `step_summary` a file that Markdown is added to (GitHub's GITHUB_STEP_SUMMARY)."""

    webhook: str | None = field(default=None, repr=False)
    only_trouble: bool = False
    step_summary: Path | None = None


class _Again(Exception):  # noqa: N818 - the state of a receiver that may take it later
    """Not taken; `after_s` is what the receiver asked for."""

    def __init__(self, text: str, after_s: float | None = None) -> None:
        super().__init__(text)
        self.after_s = after_s


def tell(
    summary: Summary,
    to: Told,
    say: Callable[[str], None],
    *,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Everybody who is to be told. Returns within LONGEST_S, and raises nothing of theirs."""
    if to.step_summary is not None:
        _append(to.step_summary, report.markdown(summary), say)
    if to.webhook and not (to.only_trouble and summary.is_well):
        fault = post(to.webhook, webhook.body(summary), sleep=sleep)
        say(
            f"the webhook at {host(to.webhook)} was told"
            if fault is None
            else f"the webhook was not told: {fault}"
        )


def post(address: str, body: dict[str, Any], *, sleep: Callable[[float], None] = time.sleep) -> str | None:
    """Why it was not taken, in words that do not hold the address; None if it was."""
    retrying = Retrying(
        retry=retry_if_exception_type(_Again),
        stop=stop_after_attempt(ATTEMPTS),
        wait=_wait,
        reraise=True,
        sleep=sleep,
    )
    try:
        refusal: str | None = retrying(_post, address, body)
    except _Again as again:
        return f"{host(address)} {again} ({ATTEMPTS} attempts)"
    return refusal if refusal is None else f"{host(address)} {refusal}"


def host(address: str) -> str:
    """Scheme and host: the rest of the address, also a user's part, is what lets one post."""
    try:
        url = httpx.URL(address)
    except httpx.InvalidURL:
        return "an address that is none"
    return f"{url.scheme}://{url.host}" if url.host else "an address that is none"


def _post(address: str, body: dict[str, Any]) -> str | None:
    try:
        # What it answers besides its status is not read: it may be without end
        with httpx.stream("POST", address, json=body, timeout=TIMEOUT_S, follow_redirects=False) as answer:
            status, retry_after = answer.status_code, answer.headers.get("retry-after")
    except (httpx.InvalidURL, httpx.UnsupportedProtocol):
        return "is no address that can be posted to"
    except httpx.HTTPError as error:
        raise _Again(f"cannot be reached ({type(error).__name__})") from None
    if httpx.codes.is_success(status):
        return None
    if status == httpx.codes.TOO_MANY_REQUESTS or httpx.codes.is_server_error(status):
        raise _Again(f"answered {status}", _seconds(retry_after))
    return f"answered {status}"


def _wait(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    asked = error.after_s if isinstance(error, _Again) else None
    usual = wait_exponential(multiplier=WAIT_S, max=MAX_WAIT_S)(state)
    return min(MAX_WAIT_S, max(asked or 0.0, usual))


def _seconds(text: str | None) -> float | None:
    """A date, which the standard allows too, is not waited for."""
    try:
        return max(0.0, float(text or ""))
    except ValueError:
        return None


def _append(path: Path, text: str, say: Callable[[str], None]) -> None:
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(text.encode()[:STEP_SUMMARY_BYTES].decode(errors="ignore") + "\n")
    except OSError as error:
        say(f"the job's summary could not be written: {error.strerror}")
