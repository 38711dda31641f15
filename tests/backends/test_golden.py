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
