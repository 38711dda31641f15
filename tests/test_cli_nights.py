"""`levelbench matrix`, `resume` and `run-group` as they are typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator import nights
from orchestrator.domain.plan import Plan
from orchestrator.errors import CellError, RequestError
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


RULES = """
[budget]
minutes = 1

[[priority]]
prefix_caching = "off"
value = 3

[[waive]]
users = 1
reason = "old"
until = 2020-01-01
"""


def test_a_plan_tells_what_a_night_would_not(typed: Typed, file: str) -> None:
    """Waivers that ran out, and what there will be no time for."""
    Path(file).write_text(MATRIX + RULES)
    said = typed("matrix", file, "--plan").output

    assert "warning: waiver ran out on 2020-01-01: old" in said
    assert "budget: 1 min" in said
    assert "no time for llama-cpp-current-tiny-defaults, worth 0" in said


def test_a_waiver_for_nothing_is_a_mistake(typed: Typed, file: str) -> None:
    """Told with its line, by a plan as by a night."""
    Path(file).write_text(f'{MATRIX}[[waive]]\nusers = 7\nreason = "r"\nuntil = 2030-01-01\n')
    for words in (("--plan",), ()):
        done = typed("matrix", file, *words)

        assert isinstance(done.exception, RequestError)
        assert "matches no cell of this matrix" in str(done.exception)
    assert not typed.runs.exists()


def test_a_teardown_has_no_deadline(typed: Typed, file: str) -> None:
    """It ends with proof, or ends the night."""
    Path(file).write_text(f"{MATRIX}[budget]\nphase_minutes = {{ down = 1 }}\n")

    assert "a teardown is never cut short" in str(typed("matrix", file, "--plan").exception)
