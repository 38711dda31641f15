"""Outcomes on stdout."""

from __future__ import annotations

import json
import sys
from typing import Any

import typer
from rich.console import Console as RichConsole

from orchestrator.report import console as tables
from orchestrator.report.records import Stored
from orchestrator.store.runs import REPORT, RunFolder


def show(folder: RunFolder, *, as_json: bool) -> None:
    """A run's outcome on stdout."""
    cells: tuple[Stored, ...] = folder.record().cells
    if as_json:
        print_json([c.result.model_dump(mode="json") for c in cells if c.result is not None])
        return
    if sys.stdout.isatty():
        console = RichConsole()
        for table in tables.tables(cells):
            console.print(table)
    else:
        typer.echo(tables.plain(cells))
    typer.echo(f"report: {folder.path / REPORT}")


def print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2))
