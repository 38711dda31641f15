"""Foreign text cannot break a report."""

from __future__ import annotations

import pytest

from orchestrator.report import layout


def test_a_table_reads_as_plain_text() -> None:
    """Words to the left, figures to the right, all padded."""
    table = layout.table(["name", "tok/s"], [["a", "1,234"], ["longer", "5"]])

    assert table.splitlines() == [
        "| name   | tok/s |",
        "| ------ | ----: |",
        "| a      | 1,234 |",
        "| longer |     5 |",
    ]


def test_a_cell_cannot_end_its_column_or_row() -> None:
    """Pipes are escaped, line breaks become spaces."""
    assert "a \\| b c" == layout.escape("a | b\n c\n")


@pytest.mark.parametrize(
    ("fence", "text"), [("```", "plain"), ("````", "has ``` inside"), ("``````", "`````")]
)
def test_a_fence_is_longer_than_any_in_the_text(fence: str, text: str) -> None:
    """An engine's log may hold Markdown."""
    lines = layout.code_block(text).splitlines()

    assert (f"{fence}text", fence) == (lines[0], lines[-1])


def test_inline_code_survives_a_backtick() -> None:
    """Double quotes, as Markdown has it, and one line."""
    assert ("`a b`", "`` a`b ``") == (layout.code("a\nb"), layout.code("a`b"))


@pytest.mark.parametrize(
    ("text", "words"), [("", []), ("a", ["a"]), ("a and b", ["a", "b"]), ("a, b and c", [*"abc"])]
)
def test_words_are_joined_as_one_speaks(text: str, words: list[str]) -> None:
    """Commas, then and."""
    assert text == layout.joined(words)
