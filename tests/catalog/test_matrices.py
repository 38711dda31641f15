"""Matrix files: what they say, and every mistake in one at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from backends import load_backends
from orchestrator.catalog import matrices
from orchestrator.catalog.matrices import SHIPPED, MatrixFile
from orchestrator.domain.matrix import Matrix, expand
from orchestrator.domain.workload import SystemPrompt
from orchestrator.errors import RequestError

BACKENDS = load_backends()
GOOD = """
title = "two engines"
seed = 7

[axes]
backend = ["vllm", "sglang"]
model = "8b"
workload = "article"
users = [10, 50]
system_prompt = "without"
"""
BAD = """title = ""
sed = 3
[axes]
backend = ["vllm",
  "lmdeplo"]
model = "8c"
users = [10, 0, "many"]
profile = "fast"
[[exclude]]
[[exclude]]
backend = "tgi"
usres = 3
[budget]
minutes = "eight"
phase_minutes = { imag = 3 }
[[waive]]
backend = "vllm"
until = 2026-12-05
[control]
backend = "vllm"
users = 1.5
"""


def read(folder: Path, text: str) -> MatrixFile:
    (folder / "my.toml").write_text(text)
    return matrices.read(str(folder / "my.toml"), BACKENDS)


def mistakes(folder: Path, text: str) -> list[str]:
    """Each as `line: place: what`."""
    with pytest.raises(RequestError) as caught:
        read(folder, text)
    assert "docs/nightly.md" in caught.value.hint
    return [line.removeprefix("- my.toml:") for line in str(caught.value).splitlines()[1:]]


def test_the_articles_matrix_is_whole() -> None:
    """Five engines, two models, three loads, with and without a system prompt: sixty cells."""
    found = matrices.read("article", BACKENDS)
    points, excluded = expand(found.matrix, found.workloads)

    assert (60, 0) == (len(points), len(excluded))
    assert {"2024-06"} == {point.release for point in points}
    assert {10, 50, 100} == {point.users for point in points}
    assert set(SystemPrompt) == {point.system_prompt for point in points}
    assert 5 == len({point.backend for point in points})


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.toml")), ids=lambda p: p.stem)
def test_every_matrix_that_is_shipped_can_be_read(path: Path) -> None:
    """By its name, and by its path."""
    assert matrices.read(path.stem, BACKENDS) == matrices.read(str(path), BACKENDS)


def test_every_mistake_is_told_at_once_with_its_line(tmp_path: Path) -> None:
    """Fields that do not exist or are missing, names, numbers, words: none hides another."""
    told = mistakes(tmp_path, BAD)

    assert [
        (1, "title"),
        (2, "sed"),
        (3, "axes.workload"),
        (5, "axes.backend.1"),
        (6, "axes.model.0"),
        (7, "axes.users.1"),
        (7, "axes.users.2"),
        (8, "axes.profile.0"),
        (9, "exclude.0"),
        (12, "exclude.1.usres"),
        (14, "budget.minutes"),
        (15, "budget.phase_minutes.imag.[key]"),
        (16, "waive.0.reason"),
        (19, "control.model"),
        (19, "control.workload"),
        (21, "control.users"),
    ] == [(int(line.split(":")[0]), line.split(":")[1].strip()) for line in told]
    assert "Did you mean 'lmdeploy'?" in told[3]


@pytest.mark.parametrize(
    ("more", "line", "said"),
    [
        ("[[exclude]]\nusers = 100", 12, "matches no cell of this matrix"),
        ("[subset.big]\nmodel = '70b-awq'", 12, "matches no cell of this matrix"),
        ("[[priority]]\nbackend = 'tgi'\nvalue = 3", 12, "matches no cell of this matrix"),
        (
            "[[waive]]\nbackend = 'tgi'\nreason = 'r'\nuntil = 2030-01-01",
            12,
            "matches no cell of this matrix",
        ),
        ("[[exclude]]\nmodel = '8b'", 12, "every cell is excluded"),
        ("[axes.extra_args]\ntgi = ['--x']", 13, "tgi is no backend of this matrix"),
        ("[[include]]\nduration_s = 5", 13, "ramps for 20 s within its duration of 5 s"),
        ("[[exclude]]\nusers = [10, 10]", 13, "10 is named twice"),
    ],
)
def test_what_has_no_effect_is_a_mistake(tmp_path: Path, more: str, line: int, said: str) -> None:
    """A person meant something by it."""
    (told,) = mistakes(tmp_path, f"{GOOD}\n{more}\n")

    assert told.startswith(f"{line}: ")
    assert said in told


def test_a_matrix_that_is_no_toml_names_the_line(tmp_path: Path) -> None:
    """As the parser tells it."""
    with pytest.raises(RequestError, match=r"my\.toml is not TOML: .*line 1"):
        read(tmp_path, "title = \n[axes]\n")


def test_an_unknown_name_is_told_with_the_known_ones() -> None:
    """Names without a suffix are those that come with levelbench; anything else is a path."""
    with pytest.raises(RequestError, match=r"unknown matrix 'artikel'\. Did you mean 'article'") as caught:
        matrices.read("artikel", BACKENDS)
    assert "known: article, small" == caught.value.hint
    with pytest.raises(RequestError, match=r"cannot read nowhere\.toml"):
        matrices.read("nowhere.toml", BACKENDS)


def test_a_workload_of_its_own_begins_at_the_matrix_folder(tmp_path: Path) -> None:
    """So that both can be carried around together."""
    own = "[mine]\ntitle = 'm'\nusers = [3]\nramp_s = 1\nduration_s = 2\n"
    (tmp_path / "mine.toml").write_text(own)
    found = read(tmp_path, GOOD.replace('"article"', '"mine.toml"').replace("users = [10, 50]\n", ""))
    points, _ = expand(found.matrix, found.workloads)

    assert {(str(tmp_path / "mine.toml"), 3)} == {(p.workload, p.users) for p in points}


def test_the_digest_is_of_the_text(tmp_path: Path) -> None:
    """A night is recognised by it: a comment makes another file."""
    one, same, other = read(tmp_path, GOOD), read(tmp_path, GOOD), read(tmp_path, f"{GOOD}# more\n")

    assert one.digest == same.digest
    assert one.digest != other.digest


def test_a_matrix_survives_its_plan() -> None:
    """The rules stand in run.json, and are read back without looking anything up."""
    found = matrices.read("article", BACKENDS).matrix

    assert found == Matrix.model_validate_json(found.model_dump_json())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("users", "--only 'users' names no field"),
        ("colour=red", "--only 'colour=red' names no field"),
        ("users=many", "--only users"),
        ("backend=vlm", "Did you mean 'vllm'"),
    ],
)
def test_a_selection_is_checked_like_the_file(words: str, said: str) -> None:
    """Field and values."""
    with pytest.raises(RequestError, match=said) as caught:
        matrices.only([words], BACKENDS)
    assert caught.value.hint


def test_a_selection_is_one_pattern(tmp_path: Path) -> None:
    """Values of a field are alternatives, fields all have to hold."""
    (pattern,) = matrices.only(["backend=vllm", "users=10,50", "backend=sglang"], BACKENDS)
    points, _ = expand(read(tmp_path, GOOD).matrix, read(tmp_path, GOOD).workloads)

    assert all(pattern.matches(point) for point in points)
    assert () == matrices.only([], BACKENDS)


def test_a_subset_that_is_not_there_is_told() -> None:
    """With those that are."""
    found = matrices.read("article", BACKENDS).matrix

    assert (found.subset["8b"],) == matrices.subsets(found, ["8b"])
    with pytest.raises(RequestError, match="unknown subset '9b'"):
        matrices.subsets(found, ["9b"])
