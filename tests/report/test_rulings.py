"""Verdicts as text: the verdict first, then all that it rests on."""

from __future__ import annotations

from orchestrator.catalog import publications
from orchestrator.domain.claim import Address
from orchestrator.domain.court import Court
from orchestrator.domain.pairs import Side, compare
from orchestrator.domain.published import rule
from orchestrator.domain.rerun import judge
from orchestrator.report import contrasts, rulings
from tests.domain import results
from tests.domain.results import article

ARTICLE = publications.publications()["article"]
result = results.result


def test_a_claim_shows_words_reading_and_evidence() -> None:
    """Each part with its own verdict; figures with intervals, run and cell."""
    measured = [article("8b/mlc-llm/u100", 3000, 0.3), article("8b/lmdeploy/u100", 4000, 0.2)]
    text = rulings.claims([Court(measured, ARTICLE.setting).rule(publications.require_claims(("4",))[0])])

    assert "| 4     | MLC-LLM falls behind LMDeploy at 100 users with 8B | reproduced | run-1 |" in text
    assert "- reproduced: the token rate falls behind LMDeploy's\n" in text
    assert "8b/mlc-llm/u100 over 8b/lmdeploy/u100: 0.750 (0.740 to 0.760)" in text
    assert "8b/lmdeploy/u100: tok/s 4,000 (3,960 to 4,040), run run-1" in text


def test_a_claim_says_what_its_figures_would_say() -> None:
    """Where another GPU makes them incomparable."""
    measured = [
        article(f"8b/{b}/u100", r, gpu=results.H100) for b, r in (("mlc-llm", 3000), ("lmdeploy", 4000))
    ]
    text = rulings.claim(Court(measured, ARTICLE.setting).rule(publications.require_claims(("4",))[0]))

    assert "## Claim 4: not comparable" in text
    assert "by its figures alone: reproduced" in text
    assert "measured on NVIDIA H100 80GB HBM3 with 80 GiB, not on one A100" in text


def test_a_published_result_shows_both_sides() -> None:
    """Published and measured, literal and ours, how exactly it was published, and every difference."""
    cell = Address.model_validate("8b/lmdeploy/u100")
    found = rule(ARTICLE, cell, article("8b/lmdeploy/u100", 4600, literal=4000.0))
    text = rulings.published(found)

    assert text.startswith("# article/8b/lmdeploy/u100: reproduced\n")
    assert "3,600 to 4,400" in text
    assert "rounded: up to about 4000 tok/s" in text
    assert "4,000 (3,960 to 4,040)" in text
    assert "| 4,600 |" in text
    assert "| serving layer  | BentoML 1.2.16" in text


def test_a_rerun_says_what_a_single_pair_can_show() -> None:
    """And what it cannot; several runs are told otherwise."""
    sides = Side("a", ((result(),),)), Side("b", ((result(),),))
    text = rulings.rerun(judge(*sides))

    assert text.startswith("# a: reproduced\n\nJudged by b.")
    assert rulings.WITHIN in text
    assert "Margins: tok/s 5%" in text
    many = rulings.rerun(judge(Side("a", ((result(),), (result(1010.0),))), sides[1]))
    assert rulings.BETWEEN in many
    assert rulings.WITHIN not in many


def test_undecided_says_what_it_takes() -> None:
    """More runs, too many of them, or something to test."""
    near = judge(Side("a", ((result(1000.0, share=0.1),),)), Side("b", ((result(1000.0, share=0.1),),)))
    at = judge(Side("a", ((result(1000.0),),)), Side("b", ((result(1050.0),),)))
    none = judge(Side("a", ((result(share=None),),)), Side("b", ((result(share=None),),)))

    assert "more runs of each side" in rulings.rerun(near).splitlines()[0]
    assert "more than 64 runs of each side" in rulings.rerun(at).splitlines()[0]
    assert "nothing could be tested" in rulings.rerun(none).splitlines()[0]


def test_a_comparison_shows_effects_and_differences() -> None:
    """What is significant after correction is starred, what is suspect marked."""
    text = contrasts.text(
        compare([Side("a", ((result(1000.0),),)), Side("b", ((result(2000.0, backend="vllm"),),))])
    )

    assert "# b against a\n\nPaired by the same model, workload and load." in text
    assert "2.000*" in text
    assert "<0.001" in text
    assert "| engine | backend        | llama-cpp | vllm   |" in text
    assert "Holm's" in text
    assert contrasts.WITHIN in text
