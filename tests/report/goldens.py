"""What the hand-made run must render to. `python -m tests.report.goldens` writes the files anew; read the diff."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from orchestrator.report import console, markdown, rows
from tests.report import made

FOLDER = Path(__file__).parents[1] / "golden"


def report() -> str:
    run = made.run()
    return markdown.report(run.cells, run)


def terminal(width: int) -> str:
    """As a terminal of that width would show it, without colour."""
    screen = Console(file=io.StringIO(), width=width, color_system=None)
    for renderable in console.tables(made.run().cells):
        screen.print(renderable)
    assert isinstance(screen.file, io.StringIO)
    return screen.file.getvalue()


GOLDENS: dict[str, Callable[[], str]] = {
    "report.md": report,
    "report-console-200.txt": lambda: terminal(200),
    "report-console-80.txt": lambda: terminal(80),
    "report-console-30.txt": lambda: terminal(30),
    "report-plain.txt": lambda: console.plain(made.run().cells),
    "report-results.csv": lambda: rows.csv_text(made.run().cells),
}

if __name__ == "__main__":
    for name, render in GOLDENS.items():
        (FOLDER / name).write_text(render(), "utf-8")
