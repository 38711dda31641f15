"""What a person sees on stderr while a run goes on, on a terminal and without one."""

from __future__ import annotations

from io import StringIO

import pytest

from orchestrator.console import Console, live_line
from orchestrator.domain.cell import Load
from orchestrator.domain.workload import Arrivals, SystemPrompt
from orchestrator.errors import CellError, HostError, Interrupted
from orchestrator.load.client import Live

FOUR = Load(users=4, system_prompt=SystemPrompt.WITHOUT)


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def screen() -> StringIO:
    return StringIO()


def live(elapsed_s: float = 5.0, ttft_s: float | None = 0.0421) -> Live:
    return Live(elapsed_s=elapsed_s, users=3, ended=7, failed=1, tokens_per_s=123.4, ttft_s=ttft_s)


def test_live_line_of_an_open_loop_tells_what_is_in_flight() -> None:
    """There are no users to count."""
    load = Load(users=1024, system_prompt=SystemPrompt.WITHOUT, arrivals=Arrivals.POISSON, rate_per_s=5)

    assert "       5 s  in flight 3  requests 7" in live_line(load, 12.0, live())


def test_live_line_tells_all() -> None:
    """Time, users, requests, rate, TTFT, errors, time left."""
    expected = "       5 s  users 3/4  requests 7  123 tok/s  TTFT 42 ms  errors 1  7 s left"

    assert expected == live_line(FOUR, 12.0, live())


def test_live_line_before_the_first_token() -> None:
    """A time that is not known is not zero; time left never is negative."""
    line = live_line(FOUR, 12.0, live(13.0, None))

    assert "TTFT -  " in line
    assert line.endswith(" 0 s left")


def test_phase_says_when_it_began_and_how_long_it_took(screen: StringIO) -> None:
    """Two lines."""
    with Console(screen).phase("weights"):
        pass

    assert ["  weights ...", "  weights done in 0.0 s"] == screen.getvalue().splitlines()


def test_failed_phase_says_so_and_goes_on_up(screen: StringIO) -> None:
    """The exception is not swallowed."""
    with pytest.raises(HostError), Console(screen).phase("up"):
        raise HostError("no")

    assert "  up FAILED after 0.0 s" == screen.getvalue().splitlines()[-1]


def test_error_says_what_to_do_next(screen: StringIO) -> None:
    """Message, then hint."""
    Console(screen).error(HostError("port 80 is taken", hint="choose another"))

    assert ["error: port 80 is taken", "  next: choose another"] == screen.getvalue().splitlines()


def test_cell_error_shows_the_engines_last_lines(screen: StringIO) -> None:
    """Before the message, so that the message is what stands last."""
    Console(screen).error(CellError("the engine died", hint="see above", log_tail="loading\n[red]oom[/red]"))

    assert [
        "    the last lines:",
        "    | loading",
        "    | [red]oom[/red]",
        "error: the engine died",
        "  next: see above",
    ] == screen.getvalue().splitlines()


def test_long_lines_are_not_broken(screen: StringIO) -> None:
    """A path in two pieces cannot be copied, and a log cannot be searched."""
    path = "/a/" + "very-long-name/" * 20
    Console(screen).say(path)

    assert [path] == screen.getvalue().splitlines()


def test_without_a_terminal_a_line_comes_every_five_seconds(screen: StringIO) -> None:
    """Not one a second: a log is read later."""
    clock = iter(float(n) / 2 for n in range(100))
    console = Console(screen, clock=lambda: next(clock))
    with console.phase("measure"):
        for second in range(1, 12):
            console.show(FOUR, 12.0, live(float(second)))
    told = [line.split("  users")[0].strip() for line in screen.getvalue().splitlines()[1:-1]]

    assert 1 < len(told) < 5
    assert "1 s" == told[0]


def test_each_phase_begins_with_a_line(screen: StringIO) -> None:
    """The five seconds of the phase before do not count."""
    console = Console(screen)
    for _ in range(2):
        with console.phase("measure"):
            console.show(FOUR, 12.0, live(1.0))

    assert 2 == screen.getvalue().count("users 3/4")


def test_on_a_terminal_the_line_is_rewritten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps and figures share one line; what stays is the phase's beginning and end."""
    monkeypatch.setenv("TERM", "xterm")
    screen = Terminal()
    console = Console(screen)
    with console.phase("measure"):
        console.show(FOUR, 12.0, live())
        console.step("still here")

    assert console.is_terminal
    assert "still here" in screen.getvalue()
    assert "measure done" in screen.getvalue().splitlines()[-1]
    assert "\x1b[" in screen.getvalue()


class ClosedTerminal(Terminal):
    def write(self, text: str) -> int:
        raise OSError(5, "Input/output error")

    def flush(self) -> None:
        raise BrokenPipeError


def test_a_terminal_that_closed_stops_nothing() -> None:
    """A teardown goes on although nobody can read of it, live line included."""
    console = Console(ClosedTerminal())
    with console.phase("down"):
        console.step("stopping")
    console.error(HostError("the disk is full"))


def test_an_interrupted_phase_has_not_failed(screen: StringIO) -> None:
    """Who pressed Ctrl-C knows that nothing is broken."""
    with pytest.raises(Interrupted), Console(screen).phase("ready"):
        raise Interrupted("SIGINT")

    assert "  ready stopped after 0.0 s" == screen.getvalue().splitlines()[-1]
