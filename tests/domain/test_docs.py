"""docs/metrics.md is true to the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from orchestrator.domain.article import Article
from orchestrator.domain.counts import PromptOffsets, TokenCounts
from orchestrator.domain.distribution import MIN_SAMPLES, Distribution
from orchestrator.domain.intervals import Bounds
from orchestrator.domain.metrics import Metrics, TtftBounds
from orchestrator.domain.reasons import Reason
from orchestrator.domain.result import StepRecord
from orchestrator.domain.stationarity import Drift, Stationarity
from orchestrator.domain.windows import WindowMetrics

PAGE = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text("utf-8")


def rows(heading: str) -> list[str]:
    """The first column of the table under a heading, without its code quotes."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return re.findall(r"^\| `([\w-]+)` \|", section, re.MULTILINE)


VALUES = [
    Metrics,
    WindowMetrics,
    Distribution,
    Bounds,
    TtftBounds,
    TokenCounts,
    PromptOffsets,
    Stationarity,
    Drift,
    Article,
]


@pytest.mark.parametrize("model", VALUES)
def test_every_figure_has_exactly_one_row(model: type[BaseModel]) -> None:
    """In the order of the code, so that a reader of result.json finds it."""
    assert list(model.model_fields) == rows(model.__name__)


def test_every_table_is_of_a_value_in_the_code() -> None:
    """A row that no code knows would be a figure that does not exist."""
    tables = re.findall(r"^## (\w+)\n(?:(?!^## ).*\n)*?\| id ", PAGE, re.MULTILINE)

    assert [model.__name__ for model in VALUES] == tables


def test_every_reason_has_exactly_one_row() -> None:
    """A verdict never names a reason that is not explained."""
    assert [reason.value for reason in Reason] == rows("Verdict")


def test_sample_sizes_are_those_of_the_code() -> None:
    """The page says from how many samples a percentile is given."""
    for q, n in MIN_SAMPLES.items():
        assert re.search(rf"^\| `p{q}` \|.*null below {n} samples", PAGE, re.MULTILINE)


def test_the_glossary_gives_each_noun_one_sentence() -> None:
    """One line per noun, each noun once, ended by its only full stop."""
    text = (Path(__file__).parents[2] / "docs" / "glossary.md").read_text("utf-8")
    lines = [line for line in text.splitlines() if line.startswith("- ")]
    entries = re.findall(r"^- \*\*([\w ]+)\*\*: (.+)$", text, re.MULTILINE)

    assert len(lines) == len(entries) == len({noun for noun, _ in entries})
    assert [] == [noun for noun, sentence in entries if sentence.count(". ") or not sentence.endswith(".")]


def test_every_field_of_a_step_record_is_explained() -> None:
    """In docs/results.md, in the order of the code."""
    page = (Path(__file__).parents[2] / "docs" / "results.md").read_text("utf-8")
    section = page.split("| field | meaning |")[1].split("\n\n")[0]

    assert list(StepRecord.model_fields) == re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)
