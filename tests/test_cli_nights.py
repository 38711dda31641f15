"""`levelbench matrix`, `resume` and `run-group` as they are typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator import nights
from orchestrator.domain.plan import Plan
from orchestrator.errors import CellError
from orchestrator.store.runs import RunFolder
from tests.fakes.runtime import FakeRuntime
from tests.test_cli import Typed, bare, collected, runtime, typed
from tests.test_nights import MATRIX

__all__ = ["bare", "collected", "runtime", "typed"]

# docker-py leaves its socket unclosed when nothing listens at the address.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")


@pytest.fixture
def file(tmp_path: Path, runtime: FakeRuntime, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(nights, "choose", lambda *_, **__: (runtime, ()))
    (tmp_path / "my.toml").write_text(MATRIX)
    return str(tmp_path / "my.toml")


def test_a_plan_says_what_a_night_takes(typed: Typed, file: str) -> None:
    """Order, minutes, disk; nothing is written."""
    said = typed("matrix", file, "--plan").output

    assert "small (my.toml), order by seed 1 (--seed repeats it)" in said
    assert "2 deployments, 4 cells: about" in said
    assert "minutes are guessed, with empty caches" in said
    assert "llama-cpp-current-tiny-defaults-prefix-off: u1 u2" in said
    assert not typed.runs.exists()


def test_the_articles_night_can_be_planned_anywhere(typed: Typed) -> None:
    """Sixty cells, and what is missing here."""
    said = typed("matrix", "article", "--plan", "--subset", "8b").output

    assert "5 deployments, 30 cells" in said
    assert "subset 8b" in said
    assert "control-3" in said


def test_a_plan_as_json_is_what_would_be_stored(typed: Typed, file: str) -> None:
    """And what was chosen stands in it."""
    words = ("--seed", "9", "--subset", "one", "--only", "prefix_caching=off")
    plan = Plan.model_validate(json.loads(typed("matrix", file, "--plan", "--json", *words).stdout))
    assert plan.night is not None

    assert (9, ("one",)) == (plan.night.seed, plan.night.subsets)
    assert [1] == [len(group.group.loads) for group in plan.groups]


def test_seed_zero_is_a_seed(typed: Typed, file: str) -> None:
    """Not the absence of one."""
    assert "seed 0 " in typed("matrix", file, "--plan", "--seed", "0").output


def test_a_night_ends_with_its_tables(typed: Typed, file: str) -> None:
    """On stdout, with exit code 0."""
    done = typed("matrix", file)

    assert 0 == done.exit_code
    assert "report: " in done.stdout


def test_a_failed_cell_ends_with_4_and_can_be_asked_for_again(
    typed: Typed, file: str, runtime: FakeRuntime
) -> None:
    """`resume` alone leaves it failed."""
    runtime._fail = {"up": CellError("it died")}
    assert 4 == typed("matrix", file).exit_code
    runtime._fail = {}

    assert 4 == typed("resume").exit_code
    assert 0 == typed("resume", "--only-failed").exit_code


def test_a_group_of_a_run_can_be_run_alone(typed: Typed, file: str) -> None:
    """By the folder and the group's id."""
    typed("matrix", file)
    folder = RunFolder.find(typed.runs)
    group_id = folder.plan().groups[0].group.id
    done = typed("run-group", str(folder.path), group_id)

    assert 0 == done.exit_code
    assert f"{folder.path}\n" == done.stdout


def test_mistakes_of_the_file_are_the_commands_error(typed: Typed, tmp_path: Path) -> None:
    """With 2, before anything is looked up."""
    (tmp_path / "bad.toml").write_text("title = 'x'\n[axes]\nbackend = 'vlm'\n")
    error = typed.error("matrix", str(tmp_path / "bad.toml"))

    assert 2 == error.exit_code
    assert str(error).startswith("3 mistakes in ")
