"""Every Dockerfile and every argv, word by word."""

from __future__ import annotations

import pytest

from tests import goldens

TEXTS = goldens.texts()


@pytest.mark.parametrize("name", TEXTS)
def test_it_renders_to_its_golden_text(name: str) -> None:
    """A change of what is run is seen and meant: `python -m tests.goldens` accepts it."""
    assert (goldens.FOLDER / name).read_text("utf-8") == TEXTS[name]()


def test_no_golden_file_is_left_over() -> None:
    """A release that is gone takes its files along."""
    assert set(TEXTS) == goldens.written()


def test_the_comparison_in_the_docs_is_what_adapters_say() -> None:
    """docs/backends.md is generated down to its mark."""
    assert goldens.documented() == goldens.DOCS.read_text("utf-8")
