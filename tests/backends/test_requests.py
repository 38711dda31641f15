"""What adapters say of their requests fits the wire shapes, and is what docs/dialects.md says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from backends.contract import Dialect
from orchestrator.load.dialects import SHAPES, templates
from tests.goldens import CASES, Case

PAGE = (Path(__file__).parents[2] / "docs" / "dialects.md").read_text("utf-8")
each_case = pytest.mark.parametrize("case", CASES, ids=str)


@each_case
def test_the_template_is_one_that_the_route_can_take(case: Case) -> None:
    """Chat routes take messages, and only completions take token ids."""
    request = case.backend.request(case.setup)

    assert request.template in templates(request.dialect)


@each_case
def test_the_page_names_the_release_beside_its_dialect(case: Case) -> None:
    """Whoever looks for a release's wire shape finds it there."""
    dialect = case.backend.request(case.setup).dialect
    (row,) = re.findall(
        rf"^\| `{dialect.value}` \| (.*(?: current| 2024-06|none:).*) \|$", PAGE, re.MULTILINE
    )

    assert f"{case.backend.name} {case.release.id}" in row


@pytest.mark.parametrize("dialect", Dialect)
def test_the_page_has_each_dialect_with_its_endpoint(dialect: Dialect) -> None:
    """One row of fields, one of tokens, one of releases."""
    assert 3 == len(re.findall(rf"^\| `{dialect.value}` \|", PAGE, re.MULTILINE))
    assert f"| `{dialect.value}` | `{SHAPES[dialect].path}` |" in PAGE
