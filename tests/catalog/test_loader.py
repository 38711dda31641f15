"""The catalogue: what is in it, and what a mistake in it is told as."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from backends.contract import Value
from orchestrator.catalog import loader
from orchestrator.domain.model import Model
from orchestrator.domain.workload import PromptSource, SystemPrompt, Workload
from orchestrator.errors import RequestError
from quantize.synthetic import RECIPES

ENTRY = """
[mine]
title = "mine"
users = [1]
ramp_s = 1
duration_s = 1
"""


def fault(tmp_path: Path, text: str, kind: type[Value] = Workload) -> str:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(RequestError) as caught:
        loader.read(path, kind)
    assert caught.value.hint
    return str(caught.value)


def test_entries_carry_their_key_as_id(tmp_path: Path) -> None:
    """A name stands once."""
    path = tmp_path / "mine.toml"
    path.write_text(ENTRY)

    assert "mine" == loader.read(path, Workload)["mine"].id


def test_every_entry_of_the_catalogue_can_be_read() -> None:
    """The files are whole, and their ids are theirs."""
    assert {"short", "load", "stream", "article"} == set(loader.workloads())
    made_here, forms = {"tiny", "small", "tiny-awq"}, {"int4-awq", "q4f16_1"}
    fetched = {"8b", "70b-awq", *(f"{size}-{form}" for size in ("8b", "70b") for form in forms)}
    assert made_here | fetched == set(loader.models())
    assert {"70b-4bit"} == set(loader.families())
    assert all(set(f.models) <= set(loader.models()) for f in loader.families().values())
    assert all(key == model.id for key, model in loader.models().items())


def test_every_model_has_exactly_one_origin() -> None:
    """Made here by a recipe that exists, or fetched from the hub at a revision."""
    for model in loader.models().values():
        assert (model.made is None) != (model.hub is None), model.id
        assert model.made is None or model.made.recipe in RECIPES, model.id


def test_models_are_told_by_their_origin() -> None:
    """The step in a plan says what it fetches or makes, how large, and whether a token is needed."""
    assert (
        "make tiny here: recipe tiny, random weights, byte-identical each time" == loader.model("tiny").origin
    )
    assert loader.model("8b").origin.endswith("(16.1 GB, gated: needs HF_TOKEN)")
    assert "fetch casperhansen/llama-3-70b-instruct-awq@main (39.8 GB)" == loader.model("70b-awq").origin
    bare = loader.model("tiny").model_copy(update={"made": None})
    assert "no origin" == bare.origin


def test_gated_revisions_are_commits() -> None:
    """What is pinned is pinned to a commit; the one exception says why in the file."""
    revisions = {m.id: m.hub.revision for m in loader.models().values() if m.hub is not None}
    pinned = {name for name, revision in revisions.items() if re.fullmatch("[0-9a-f]{40}", revision)}

    assert {"8b", "8b-int4-awq", "8b-q4f16_1"} == pinned
    assert {"70b-awq": "main"}.items() <= revisions.items()


def test_article_is_the_published_load() -> None:
    """10, 50 and 100 users, 20 s ramp within 5 minutes, 512 tokens at temperature 1, both system prompts."""
    article = loader.workload("article")

    assert ((10, 50, 100), 20, 300, True) == (
        article.users,
        article.ramp_s,
        article.duration_s,
        article.ramp_inside,
    )
    assert 300 == article.length_s
    assert (SystemPrompt.WITHOUT, SystemPrompt.WITH) == article.system_prompts
    assert (512, 1.0, 1.0, False) == (
        article.sampling.max_tokens,
        article.sampling.temperature,
        article.sampling.top_p,
        article.sampling.ignore_eos,
    )
    assert (PromptSource.AUTO, 30, 150) == (
        article.prompts.source,
        *article.prompts.bounds,
    )
    assert (5, 0.01) == (article.window_s, article.think_s)


def test_short_fits_into_a_minute() -> None:
    """The first look of somebody who types `make bench`."""
    short = loader.workload("short")

    assert (1, 4, 16) == short.users
    assert len(short.users) * short.length_s <= 60


def test_unknown_names_are_told_with_the_nearest() -> None:
    """For models and for workloads."""
    with pytest.raises(RequestError, match="Did you mean 'small'"):
        loader.model("smal")
    with pytest.raises(RequestError, match="Did you mean 'short'"):
        loader.workload("shrt")


def test_broken_toml_names_its_line(tmp_path: Path) -> None:
    """The file and the place of the fault."""
    assert re.match(r"mine.toml is not TOML: .*line 2", fault(tmp_path, "[mine]\ntitle = x\n"))


def test_every_wrong_field_is_named(tmp_path: Path) -> None:
    """All faults of an entry at once, each with its path."""
    text = ENTRY.replace("ramp_s = 1", "ramp_s = 0\nspeed = 3\nsampling = { max_tokens = 0 }")
    said = fault(tmp_path, text)

    assert said.startswith("mine.toml [mine]: ")
    assert all(name in said for name in ("ramp_s", "speed", "sampling.max_tokens"))


def test_missing_field_is_named(tmp_path: Path) -> None:
    """Also in models."""
    assert "formats: Field required" in fault(tmp_path, '[m]\ntitle = "m"\n', Model)


def test_entry_that_is_no_table_is_told(tmp_path: Path) -> None:
    """A value at the top is a mistake like another, not a crash."""
    assert fault(tmp_path, "mine = 3\n").startswith("mine.toml [mine]: Input should be")


def own_workload(folder: Path, text: str) -> Workload:
    path = folder / "mine.toml"
    path.write_text(text)
    return loader.workload(str(path))


MINE = "[mine]\ntitle = 'mine'\nusers = [1]\nramp_s = 1\nduration_s = 5\n"


def test_a_workload_of_a_persons_own(tmp_path: Path) -> None:
    """WORKLOAD=path/to.toml; its prompts lie beside it."""
    found = own_workload(tmp_path, MINE + "prompts = { source = 'file', path = 'some.jsonl' }")

    assert ("mine", str(tmp_path / "some.jsonl")) == (found.id, found.prompts.path)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (MINE + MINE.replace("[mine]", "[other]"), "has 2 workloads"),
        (MINE + "prompts = { source = 'synthetic' }", "prompts from synthetic need input_tokens"),
        (MINE + "prompts = { source = 'own', output_tokens = 5 }", "own have no output_tokens"),
        (MINE + "prompts = { source = 'trace', path = 'x' }", "need sampling.ignore_eos"),
        (MINE + "prompts = { source = 'synthetic', input_tokens = 0 }", "greater than or equal to 1"),
        ("[mine", "is not TOML"),
    ],
)
def test_a_fault_in_a_persons_workload_is_named(tmp_path: Path, text: str, told: str) -> None:
    """With the file and the field."""
    with pytest.raises(RequestError, match=told):
        own_workload(tmp_path, text)


def test_a_workload_that_is_not_there(tmp_path: Path) -> None:
    """Its path is told."""
    with pytest.raises(RequestError, match="cannot read"):
        loader.workload(str(tmp_path / "none.toml"))
