"""What the command says of itself: every command and every option, in whole sentences, with nothing lost in printing."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.text import Text
from typer.main import get_command

from orchestrator.cli import app

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]


def commands(group: Any, name: str = "levelbench") -> Iterator[tuple[str, Any]]:
    yield name, group
    for word, command in getattr(group, "commands", {}).items():
        yield from commands(command, f"{name} {word}")


EVERY = dict(commands(get_command(app)))
NAMED = [name for name in EVERY if name != "levelbench"]


def helps(command: Any) -> dict[str, str]:
    """Of itself, and of each of its options and arguments."""
    return {"": command.help or "", **{p.name: getattr(p, "help", None) or "" for p in command.params}}


def test_there_are_commands_to_look_at() -> None:
    assert {"levelbench bench", "levelbench history costs"} < set(EVERY)


@pytest.mark.parametrize("name", EVERY)
def test_everything_explains_itself(name: str) -> None:
    """A command and each of its options, each with a sentence."""
    assert [] == [
        part for part, text in helps(EVERY[name]).items() if not text.rstrip().endswith((".", "..."))
    ]


@pytest.mark.parametrize("name", EVERY)
def test_nothing_is_lost_in_printing(name: str) -> None:
    """Square brackets would be taken for markup, and a line's end within a paragraph for a line's end."""
    for text in helps(EVERY[name]).values():
        _, *later = text.split("\n\n")
        assert text.replace(r"\[", "[") == Text.from_markup(text).plain
        assert [] == [paragraph for paragraph in later if "\n" in paragraph.strip()]


@pytest.mark.parametrize("name", NAMED)
def test_every_command_stands_in_the_docs(name: str) -> None:
    """By its own name, or as a target of make."""
    target = name.rsplit(maxsplit=1)[-1]
    found = [page for page in PAGES if re.search(rf"{name}\b|\bmake {target}\b", page.read_text("utf-8"))]

    assert found


def test_make_help_lists_every_target() -> None:
    """In columns, each with what it does."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    phony = re.findall(r"^\.PHONY: (.+)$", text, re.MULTILINE)[0].split()
    done = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    shown = re.findall(r"^  make ([a-z-]+) +\S", done.stdout, re.MULTILINE)

    assert sorted(phony) == sorted(shown)
    assert 1 == len({len(lead) for lead in re.findall(r"^  make [a-z-]+ +", done.stdout, re.MULTILINE)})
