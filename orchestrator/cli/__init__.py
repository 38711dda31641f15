"""The `levelbench` command: every error ends here, with its hint and its exit code."""

from __future__ import annotations

import sys

from orchestrator.cli import history, load, measuring, nights, reports, reproduce, timer, tools
from orchestrator.cli.app import app
from orchestrator.console import Console
from orchestrator.errors import BenchError

__all__ = ["app", "history", "load", "main", "measuring", "nights", "reports", "reproduce", "timer", "tools"]


def main() -> None:
    """The console script: every error ends here, with its hint and its exit code."""
    try:
        app()
    except BenchError as error:
        Console().error(error)
        sys.exit(error.exit_code)
