"""The end of a run on a screen, in cases that the golden run does not have."""

from __future__ import annotations

import io

from rich.console import Console

from orchestrator.report import console
from orchestrator.report.records import State, Stored
from tests.report.made import cell, load, result, stored


def shown(*cells: Stored, color: bool = False) -> str:
    screen = Console(
        file=io.StringIO(), width=100, force_terminal=color, color_system="standard" if color else None
    )
    for renderable in console.tables(cells):
        screen.print(renderable)
    assert isinstance(screen.file, io.StringIO)
    return screen.file.getvalue()


def test_markup_in_foreign_text_is_printed_as_it_is() -> None:
    """A file name with brackets is no style."""
    broken = Stored("x", State.DAMAGED, reason="[red]odd[/red] was altered")

    assert "x: damaged, [red]odd[/red] was altered" in shown(broken)


def test_colour_only_repeats_what_the_words_say() -> None:
    """A suspect cell is yellow on a terminal and says suspect everywhere."""
    exchanges = load(1, ttft_s=0.05, gap_s=0.01, tokens=40)
    suspect = stored(result(cell(), exchanges, client_cpu_s=24))

    assert "\x1b[33msuspect" in shown(suspect, color=True)
    assert "suspect" in shown(suspect)


def test_nothing_measured_is_only_the_legend() -> None:
    """No table, no crash."""
    assert console.LEGEND + "\n" == console.plain(())
    assert [console.LEGEND] == shown().splitlines()
