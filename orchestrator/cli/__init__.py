"""The `levelbench` command: every error ends here, with its hint and its exit code."""

from __future__ import annotations

import inspect
import sys

from orchestrator.cli import history, load, measuring, nights, reports, reproduce, timer, tools
from orchestrator.cli.app import app
from orchestrator.console import Console
from orchestrator.errors import ENDS

__all__ = ["app", "history", "load", "main", "measuring", "nights", "reports", "reproduce", "timer", "tools"]


# A docstring's lines are the editor's: each paragraph is one line, to be wrapped where it is shown
for command in (*app.registered_commands, *history.history.registered_commands):
    written = inspect.getdoc(command.callback) or ""
    command.help = "\n\n".join(part.replace("\n", " ") for part in written.split("\n\n"))


def main() -> None:
    """The console script: every error ends here, with its hint and its exit code."""
    try:
        app()
    except ENDS as error:
        Console().error(error)
        sys.exit(error.exit_code)
