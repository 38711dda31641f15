"""What was published, as the catalogue has it."""

from __future__ import annotations

from pathlib import Path

import pytest

from backends import load_backends
from orchestrator.catalog import loader, publications
from orchestrator.domain.claim import ANY, Claim
from orchestrator.errors import RequestError

ARTICLE = publications.publications()["article"]


def test_all_twelve_claims_are_there() -> None:
    """In the order of the text, each with parts, a source and our words."""
    found = publications.claims()

    assert [str(n) for n in range(1, 13)] == [claim.id for claim in found]
    assert all(claim.title and claim.paraphrase and claim.source for claim in found)


def test_claims_speak_of_engines_and_models_that_there_are() -> None:
    """A typing mistake in a cell would make a claim that is never measured."""
    models = {*loader.models(), *loader.families(), ANY}
    backends = {*load_backends(), ANY}
    for claim in publications.claims():
        for cell in claim.cells:
            assert cell.model in models, (claim.id, cell)
            assert cell.backend in backends, (claim.id, cell)
            assert cell.users in (None, *ARTICLE.setting.users), (claim.id, cell)


def test_published_figures_belong_to_claims_and_results() -> None:
    """Each is of a cell that can be asked for, and of a claim that speaks of that cell."""
    claims = {claim.id: claim for claim in publications.claims()}
    for figure in ARTICLE.figures:
        assert f"article/{figure.cell}" in publications.results(ARTICLE)
        assert figure.cell in claims[figure.claim].cells


def test_confounders_name_what_there_is() -> None:
    """Engines and models of the article."""
    for confounder in publications.confounders():
        assert set(confounder.backends) <= set(ARTICLE.backends)
        assert set(confounder.models) <= set(ARTICLE.models)


def test_every_published_engine_has_its_release_and_profile() -> None:
    """Else its results could not be run."""
    for name in ARTICLE.backends:
        release = load_backends()[name].release(ARTICLE.setting.release)
        assert release is not None
        assert ARTICLE.setting.profile in release.profiles
        assert name in ARTICLE.facts.versions


def test_the_setting_is_that_of_the_workload() -> None:
    """Users, ramp and duration stand in two places, and are the same."""
    workload = loader.workload(ARTICLE.setting.workload)

    assert (workload.users, workload.ramp_s, workload.length_s) == (
        ARTICLE.setting.users, ARTICLE.setting.ramp_s, ARTICLE.setting.duration_s,
    )  # fmt: skip


def test_results_are_found_by_name() -> None:
    """Two models, five engines, three loads, with and without system prompt."""
    assert 60 == len(publications.results(ARTICLE))
    publication, cell = publications.find("article/70b-4bit/tgi/u50-sys")

    assert (ARTICLE, "70b-4bit/tgi/u50-sys") == (publication, str(cell))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("article/8b/lmdepoy/u100", "Did you mean 'article/8b/lmdeploy/u100'"),
        ("article/8b/vllm/u64", "was not published"),
        ("article/8b/vllm/*", "was not published"),
        ("artikle/8b/vllm/u10", "unknown publication 'artikle'"),
    ],
)
def test_what_was_not_published_is_an_error(name: str, words: str) -> None:
    """With what there is."""
    with pytest.raises(RequestError, match=words.replace("*", r"\*")) as caught:
        publications.find(name)

    assert caught.value.hint


def test_claims_can_be_chosen() -> None:
    """By number."""
    assert ["7", "2"] == [c.id for c in publications.require_claims(("7", "2"))]
    with pytest.raises(RequestError, match="no claim '13'"):
        publications.require_claims(("13",))


def test_a_mistake_in_a_claim_names_its_place(tmp_path: Path) -> None:
    """File, claim, field."""
    path = tmp_path / "claims.toml"
    path.write_text(
        '[1]\ntitle="t"\nparaphrase="p"\nsource="s"\n[[1.parts]]\nwords="w"\ntest={kind="value"}\n'
    )
    with pytest.raises(RequestError, match=r"claims.toml \[1\]: parts.0.test.value.figure: Field required"):
        loader.read(path, Claim)
