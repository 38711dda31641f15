"""The docs are true to the program: every command in them is one that works, every link leads somewhere."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = sorted(
    {
        line.split("#")[0].strip()
        for block in re.findall(r"```\n(.*?)```", README, re.DOTALL)
        for line in block.splitlines()
        if re.match(r"make [a-z]", line)
    }
)


def dry(command: str) -> str:
    """What make would run."""
    done = subprocess.run(
        ["make", "-n", *shlex.split(command)[1:]],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if not name.startswith("MAKE")},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip().splitlines()[-1]


def test_the_two_commands_come_first() -> None:
    """Who opens the README sees how to measure and how to test before anything else."""
    first = re.findall(r"^make \w+", README, re.MULTILINE)[:2]

    assert ["make bench", "make test"] == first


@pytest.mark.parametrize("command", COMMANDS)
def test_every_make_command_is_one(command: str) -> None:
    """make knows the target and its variables."""
    assert dry(command)


@pytest.mark.parametrize("command", [c for c in COMMANDS if re.match(r"make (bench|plan)\b", c)])
def test_every_measurement_in_the_readme_can_be_planned(command: str, tmp_path: Path) -> None:
    """Backends, models and options that the README names are accepted together."""
    argv = shlex.split(dry(command))
    argv = [str(ROOT / argv[0]), *("plan" if word == "bench" else word for word in argv[1:])]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert (0, "") == (done.returncode, done.stderr)
    assert "deployment" in done.stdout


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link names a file of the repository."""
    targets = re.findall(r"\]\((?!https?://)([^)#]+)", page.read_text(encoding="utf-8"))

    assert [] == [target for target in targets if not (page.parent / target).exists()]


def test_no_merge_is_left_half_done() -> None:
    """No file holds the marks of a conflict."""
    done = subprocess.run(
        ["git", "grep", "-lE", "^(<{7}|>{7}) "], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert "" == done.stdout


def test_every_decision_is_numbered_once() -> None:
    """A decision keeps its number."""
    numbers = [p.name[:4] for p in sorted((ROOT / "docs" / "decisions").glob("0*.md"))]

    assert sorted(set(numbers)) == numbers
