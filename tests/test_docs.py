"""The docs are true to the program: every command in them is one that works, every link leads somewhere."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from orchestrator import reproduce
from orchestrator.cli import app
from tests import test_cli
from tests.fakes.runtime import FakeRuntime
from tests.test_cli import PROGRAM, QUICK, Typed

pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
collected, bare, typed, runtime = test_cli.collected, test_cli.bare, test_cli.typed, test_cli.runtime

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^( *)```\n(.*?)^\1```", re.DOTALL | re.MULTILINE)
LINE = re.compile(r"(?:    )?((?:make|levelbench|\.venv/bin/levelbench) [a-z].*)")
# Measured with real parts elsewhere, or there is another host in it: understood here, not run.
ELSEWHERE = (
    "make bench",
    "make help",
    "make test",
    "make quantize",
    "make selftest",
    "make nightly",
    ".venv/bin/levelbench load",
)


def commands(page: Path) -> list[str]:
    """The lines of a page's blocks that a person would type, without what is said beside them: behind a `#`, or behind
    two blanks. A choice of values is its first."""
    text = page.read_text(encoding="utf-8")
    lines = [line for _, block in BLOCK.findall(text) for line in block.splitlines()]
    typed = [
        found[1]
        for line in (*lines, *re.findall(r"^    .*", text, re.MULTILINE))
        if (found := LINE.fullmatch(line))
    ]
    plain = [re.split(r"#|  ", line)[0].strip().replace("[", "").replace("]", "") for line in typed]
    return list(dict.fromkeys(re.sub(r"([a-z]+)(\|[a-z]+)+", r"\1", line) for line in plain))


COMMANDS = commands(ROOT / "README.md")
OF_PAGES = [(page, command) for page in PAGES for command in commands(page)]


def argv(command: str) -> list[str]:
    """What `levelbench` gets of a line that a person types; what make would run, for one of its own."""
    words = shlex.split(dry(command) if command.startswith("make ") else command)
    return words[1:] if words[0].endswith("levelbench") else []


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
    return done.stdout.replace("\\\n", " ").strip().splitlines()[-1]


def understood(group: Any, words: list[str], parent: Any = None) -> str:
    """The name of the command that these words are for; an error where it does not take them."""
    context = group.make_context("levelbench", list(words), parent=parent)
    rest = [*getattr(context, "_protected_args", ()), *context.args]
    if not hasattr(group, "commands") or not rest:
        return str(group.name)
    _, command, rest = group.resolve_command(context, rest)
    return understood(command, rest, context)


def test_the_two_commands_come_first() -> None:
    """Who opens the README sees how to measure and how to test before anything else."""
    first = re.findall(r"^make \w+", README, re.MULTILINE)[:2]

    assert ["make bench", "make test"] == first


@pytest.mark.parametrize(("page", "command"), OF_PAGES, ids=lambda v: v if isinstance(v, str) else v.name)
def test_every_command_is_understood(page: Path, command: str) -> None:
    """make knows the target and its variables, and the command each of its options."""
    words = argv(command)

    assert words or command in ("make help", "make test", "make check"), page
    if words:
        assert understood(get_command(app), words)


def test_no_page_is_without_its_commands() -> None:
    """Those that are known to have some: the others' blocks may be data."""
    with_some = {page.name for page, _ in OF_PAGES}

    assert {"README.md", "nightly.md", "history.md", "reproduce.md", "serving.md", "quantize.md"} <= with_some


def test_what_the_readme_does_with_runs_works(
    typed: Typed, runtime: FakeRuntime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each line as it stands there, one after the other, over two runs of a fake engine."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(reproduce, "choose", lambda *_, **__: (runtime, ()))
    assert (0, 0) == tuple(typed("bench", *QUICK).exit_code for _ in range(2))
    names = sorted(path.name for path in typed.runs.iterdir() if path.name != "latest")
    known = {"RUN-1": names[0], "RUN-2": names[1], "RUN.levelbench.zip": f"{names[1]}.levelbench.zip"}
    run = [
        c
        for c in COMMANDS
        if not c.startswith(ELSEWHERE) and "FLEET=" not in c and ("article/" not in c or "PLAN=1" in c)
    ]
    outcomes = {}
    for command in run:
        words = argv(command)
        for word, name in known.items():
            words = [w.replace(word, name) for w in words]
        done = typed(*words)
        outcomes[command] = (done.exit_code, str(done.exception or ""))

    assert {"make history", "make claims", "make site", "make clean", "make export RUN=latest"} < set(run)
    assert {} == {c: o for c, o in outcomes.items() if o[0] != 0 and not (c == "make doctor" and o[0] == 3)}


@pytest.mark.parametrize(
    "command", [c for c in COMMANDS if ("nightly" in c and "PLAN=1" in c) or "FLEET=" in c]
)
def test_every_night_in_the_readme_can_be_planned(typed: Typed, command: str) -> None:
    """On any host: nothing is looked for but the files."""
    done = typed(*argv(command))

    assert 0 == done.exit_code, done.exception
    assert "order  minutes  deployment and its loads" in done.stdout


@pytest.mark.parametrize("command", [c for c in COMMANDS if re.match(r"make (bench|plan)\b(?!.*HOST=)", c)])
def test_every_measurement_in_the_readme_can_be_planned(command: str, tmp_path: Path) -> None:
    """Backends, models and options that the README names are accepted together."""
    words = ["plan" if word == "bench" else word for word in argv(command)]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *words], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert (0, "") == (done.returncode, done.stderr)
    assert "deployment" in done.stdout


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link names a file of the repository."""
    targets = re.findall(r"\]\((?!https?://)([^)#]+)", page.read_text(encoding="utf-8"))

    assert [] == [target for target in targets if not (page.parent / target).exists()]


def test_every_module_has_its_place_on_the_map() -> None:
    """Those of the domain and of the orchestrator's own folder by name; each other folder as a whole."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").split("```")[1]
    top = ROOT / "orchestrator"
    files = [p.stem for folder in (top, top / "domain") for p in folder.glob("*.py") if p.stem != "__init__"]
    gone = [name for name in re.findall(r"(\w+)\.py", text) if name not in files]
    folders = [f"{p.name}/" for p in top.iterdir() if (p / "__init__.py").is_file()]

    assert [] == [
        name
        for name in sorted({*files, *folders})
        if not re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", text)
    ]
    assert [] == gone


def test_no_merge_is_left_half_done() -> None:
    """No file holds the marks of a conflict."""
    done = subprocess.run(
        ["git", "grep", "-lE", "^(<{7}|>{7}) "], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert "" == done.stdout


def test_every_decision_is_numbered_once() -> None:
    """A decision keeps its number, and stands in the index."""
    numbers = [p.name[:4] for p in sorted((ROOT / "docs" / "decisions").glob("0*.md"))]

    index = (ROOT / "docs" / "decisions" / "README.md").read_text(encoding="utf-8")

    assert sorted(set(numbers)) == numbers == re.findall(r"^- \[(\d{4})\]", index, re.MULTILINE)
