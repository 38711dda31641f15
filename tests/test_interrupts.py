"""Ctrl-C and SIGTERM end a run once, and never in the middle of a teardown. Real signals."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from orchestrator.errors import Interrupted
from orchestrator.interrupts import Interrupts


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture(autouse=True)
def terminal() -> Iterator[None]:
    """As on a terminal, also where the tests themselves were started under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


def test_the_first_signal_is_raised(said: list[str]) -> None:
    """Work in progress ends by an exception that names the signal."""
    interrupts = Interrupts(said.append)
    with interrupts.installed(), pytest.raises(Interrupted, match="SIGTERM"):
        signal.raise_signal(signal.SIGTERM)

    assert ["SIGTERM: stopping; the engine is taken down first"] == said


def test_a_second_signal_does_not_skip_the_teardown(said: list[str]) -> None:
    """After the first one, further ones are answered with words only."""
    interrupts = Interrupts(said.append)
    torn_down = False
    with interrupts.installed(), pytest.raises(Interrupted):
        try:
            signal.raise_signal(signal.SIGINT)
        finally:
            signal.raise_signal(signal.SIGINT)
            torn_down = True

    assert torn_down
    assert "will not be skipped" in said[-1]


def test_a_signal_while_deferred_is_raised_at_the_end_of_the_block(said: list[str]) -> None:
    """An engine that is just coming up is known before the run ends."""
    interrupts = Interrupts(said.append)
    known = False
    with interrupts.installed(), pytest.raises(Interrupted), interrupts.deferred():
        signal.raise_signal(signal.SIGINT)
        known = True

    assert known


def test_long_work_may_ask_while_deferred(said: list[str]) -> None:
    """A step that runs for hours is ended at the next look, once, and in good order."""
    interrupts = Interrupts(said.append)
    with interrupts.installed(), interrupts.deferred():
        interrupts.check()
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(Interrupted, match="SIGINT"):
            interrupts.check()
        interrupts.check()


def test_deferred_blocks_nest(said: list[str]) -> None:
    """Only the outermost block lets a signal through."""
    interrupts = Interrupts(said.append)
    steps = []
    with interrupts.installed(), pytest.raises(Interrupted), interrupts.deferred():
        with interrupts.deferred():
            signal.raise_signal(signal.SIGINT)
        steps.append("after the inner block")

    assert ["after the inner block"] == steps


def test_a_closed_terminal_ends_the_run_too(said: list[str]) -> None:
    """A lost connection to the machine leaves no engine behind."""
    with Interrupts(said.append).installed(), pytest.raises(Interrupted, match="SIGHUP"):
        signal.raise_signal(signal.SIGHUP)


def test_words_that_cannot_be_said_spoil_no_teardown() -> None:
    """A handler may come in the middle of a write, which then refuses to be entered again."""

    def refuse(_: str) -> None:
        raise RuntimeError("reentrant call")

    interrupts = Interrupts(refuse)
    torn_down = False
    with interrupts.installed(), pytest.raises(Interrupted, match="SIGTERM"), interrupts.deferred():
        signal.raise_signal(signal.SIGTERM)
        torn_down = True

    assert torn_down


def test_the_handlers_before_come_back(said: list[str]) -> None:
    """Outside a run, signals mean what they meant."""
    before = signal.getsignal(signal.SIGINT)
    with Interrupts(said.append).installed():
        assert before != signal.getsignal(signal.SIGINT)

    assert before == signal.getsignal(signal.SIGINT)


def test_nohup_is_respected(said: list[str]) -> None:
    """Who has a run outlive the terminal (nohup, which ignores SIGHUP) means it."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interrupts(said.append).installed():
            signal.raise_signal(signal.SIGHUP)
        after = signal.getsignal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)

    assert [] == said
    assert signal.SIG_IGN is after
