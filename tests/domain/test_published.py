"""A published result against a run of ours."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from orchestrator.catalog import publications
from orchestrator.domain.claim import Address
from orchestrator.domain.court import Measured
from orchestrator.domain.published import PublishedFigure, PublishedRuling, rule
from orchestrator.domain.ruling import Ruling
from tests.domain import results
from tests.domain.results import article
from tests.report import made

ARTICLE = publications.publications()["article"]


def ruled(address: str, measured: Measured | None) -> PublishedRuling:
    return rule(ARTICLE, Address.model_validate(address), measured)


@pytest.mark.parametrize(
    ("address", "rate", "ttft_s", "ruling"),
    [
        ("8b/lmdeploy/u100", 4000, 0.2, Ruling.REPRODUCED),
        ("8b/lmdeploy/u100", 3650, 0.2, Ruling.REPRODUCED),
        ("8b/lmdeploy/u100", 3610, 0.2, Ruling.UNDECIDED),
        ("8b/lmdeploy/u100", 3500, 0.2, Ruling.NOT_REPRODUCED),
        ("8b/lmdeploy/u100", 4500, 0.2, Ruling.NOT_REPRODUCED),
        ("8b/vllm/u100", 2400, 0.2, Ruling.REPRODUCED),
        ("8b/vllm/u100", 2600, 0.2, Ruling.NOT_REPRODUCED),
        ("70b-4bit/lmdeploy/u100", 700, 0.2, Ruling.REPRODUCED),
        ("70b-4bit/tensorrt-llm/u100", 700, 6.5, Ruling.REPRODUCED),
        ("70b-4bit/tensorrt-llm/u100", 700, 5.0, Ruling.NOT_REPRODUCED),
    ],
)
def test_figures_decide_with_their_whole_interval(
    address: str, rate: float, ttft_s: float, ruling: Ruling
) -> None:
    """1 % to both sides here."""
    found = ruled(address, article(address, rate, ttft_s))

    assert ruling is found.ruling
    assert None is found.would_be
    assert f"article/{address}" == found.result


def test_the_literal_figure_is_held_against_the_published_one() -> None:
    """Ours is shown beside it."""
    found = ruled("8b/lmdeploy/u100", article("8b/lmdeploy/u100", 4700, literal=4000.0))
    (figure,) = found.figures

    assert Ruling.REPRODUCED is found.ruling
    assert figure.exhibit is not None
    assert (4000.0, 4700.0) == (figure.exhibit.value, figure.exhibit.ours)


def test_a_cell_without_a_published_figure_cannot_be_compared() -> None:
    """However well it was measured: its figures are shown, and that only words were published is said."""
    found = ruled("8b/mlc-llm/u10", article("8b/mlc-llm/u10"))

    assert (Ruling.NOT_COMPARABLE, None) == (found.ruling, found.would_be)
    assert ("no figure was published of this cell, only words: see the claims",) == found.reasons
    assert found.measured


def test_another_gpu_cannot_be_compared() -> None:
    """What the figures alone say is told too."""
    found = ruled("8b/lmdeploy/u100", article("8b/lmdeploy/u100", 4000, gpu=results.H100))

    assert (Ruling.NOT_COMPARABLE, Ruling.REPRODUCED) == (found.ruling, found.would_be)
    assert "NVIDIA H100" in found.reasons[0]


def test_what_was_not_measured_or_failed() -> None:
    """With the reason, and what was published."""
    failure = Measured("r", made.failed(article("8b/lmdeploy/u100").result.cell))

    assert Ruling.NOT_MEASURED is ruled("8b/lmdeploy/u100", None).ruling
    found = ruled("8b/lmdeploy/u100", failure)
    assert (Ruling.NOT_MEASURED, "r") == (found.ruling, found.run)
    assert ("it failed (memory-kv-cache)",) == found.reasons
    assert 1 == len(found.figures)


def test_provenance_is_set_beside_what_the_article_states() -> None:
    """GPU, driver, serving layer, client, prompts, engine; the system prompt only where there is one."""
    fields = {d.field: (d.first, d.second) for d in ruled("8b/vllm/u100", article("8b/vllm/u100")).provenance}

    assert ("one A100, 80 GB", "NVIDIA A100-SXM4-80GB, 80 GiB") == fields["GPU"]
    assert ("not stated", "550.54") == fields["GPU driver"]
    assert ("BentoML 1.2.16", "native") == fields["serving layer"]
    assert {"client", "prompts", "machine", "engine version"} <= set(fields)
    assert "system prompt" not in fields
    sys = ruled("8b/vllm/u100-sys", article("8b/vllm/u100-sys"))
    assert "system prompt" in {d.field for d in sys.provenance}


@pytest.mark.parametrize("changes", [{"above": None, "below": None}, {"precision": "vague"}, {"colour": 1}])
def test_published_figures_are_read_strictly(changes: dict[str, Any]) -> None:
    """One that says nothing is a mistake of the catalogue."""
    figure = {
        "cell": "8b/vllm/u100", "figure": "tokens_per_s", "precision": "range", "above": 1.0, "below": 2.0,
        "words": "", "claim": "6",
    }  # fmt: skip
    PublishedFigure.model_validate(figure)
    with pytest.raises(ValidationError):
        PublishedFigure.model_validate({**figure, **changes})
