"""Ctrl-C and SIGTERM end a run once, and never in the middle of a teardown. Real signals."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from orchestrator.errors import CellError, Interrupted
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


def test_nobody_forgives_it(said: list[str]) -> None:
    """It may come within a library that goes on after any Exception, or takes back what it had begun."""
    interrupts = Interrupts(said.append)
    with interrupts.installed(), pytest.raises(Interrupted), suppress(Exception):
        signal.raise_signal(signal.SIGINT)


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


LATE = CellError("it took too long")


def test_what_hangs_is_ended_by_its_deadline(said: list[str]) -> None:
    """Whatever call it waits in; nothing is said, for the exception says it."""
    began_s = time.monotonic()
    with pytest.raises(CellError, match="too long"), Interrupts(said.append).within(0.1, lambda: LATE):
        threading.Event().wait(60)

    assert time.monotonic() - began_s < 30
    assert [] == said


def test_what_ends_in_time_hears_nothing_of_its_deadline(said: list[str]) -> None:
    """Neither then nor later, and signals are as they were."""
    before = signal.getsignal(signal.SIGUSR2)
    interrupts = Interrupts(said.append)
    for limit_s in (60.0, None):
        with interrupts.within(limit_s, lambda: LATE):
            pass
    threading.Event().wait(0.01)

    assert before == signal.getsignal(signal.SIGUSR2)
    assert 1 == sum(thread.name == "MainThread" for thread in threading.enumerate())
    assert not any(isinstance(thread, threading.Timer) for thread in threading.enumerate())


def test_a_deadline_does_not_break_into_what_is_deferred(said: list[str]) -> None:
    """It is raised where the block lets it, at the latest at its end: within, after, around."""
    interrupts, done = Interrupts(said.append), []
    with pytest.raises(CellError), interrupts.within(0.05, lambda: LATE), interrupts.deferred():
        threading.Event().wait(0.3)
        done.append("all of it")
    with pytest.raises(CellError), interrupts.deferred(), interrupts.within(0.05, lambda: LATE):
        threading.Event().wait(0.3)
        done.append("all of it")
    with pytest.raises(CellError), interrupts.within(0.05, lambda: LATE), interrupts.deferred():
        threading.Event().wait(0.3)
        interrupts.check()
        done.append("never")

    assert ["all of it", "all of it"] == done


def test_a_deadline_is_raised_once(said: list[str]) -> None:
    """What is cleaned up after it is not interrupted, and what went wrong before it is not hidden."""
    interrupts, cleaned = Interrupts(said.append), False
    with pytest.raises(CellError), interrupts.within(0.05, lambda: LATE):
        try:
            threading.Event().wait(60)
        finally:
            with interrupts.deferred():
                cleaned = True
    with pytest.raises(ValueError, match="first"), interrupts.within(0.05, lambda: LATE):
        with interrupts.deferred():
            threading.Event().wait(0.2)
            raise ValueError("first")

    assert cleaned


def test_ctrl_c_ends_a_phase_that_has_a_deadline(said: list[str]) -> None:
    """And the deadline is silent then."""
    interrupts = Interrupts(said.append)
    with interrupts.installed(), pytest.raises(Interrupted), interrupts.within(60.0, lambda: LATE):
        signal.raise_signal(signal.SIGINT)
