"""Markdown building blocks: tables that also read well as plain text, code blocks, escaping."""

from __future__ import annotations

import re
from collections.abc import Sequence


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], *, texts: int = 1) -> str:
    """A padded table. The first `texts` columns are words (left), the others figures (right)."""
    cells = [[escape(cell) for cell in row] for row in (headings, *rows)]
    widths = [max(3, *(len(row[i]) for row in cells)) for i in range(len(headings))]
    rule = ["-" * w if i < texts else "-" * (w - 1) + ":" for i, w in enumerate(widths)]
    lines = [_line(cells[0], widths, texts), _line(rule, widths, texts)]
    return "\n".join([*lines, *(_line(row, widths, texts) for row in cells[1:])])


def escape(text: str) -> str:
    """Text that cannot break out of its table cell."""
    return re.sub(r"\s+", " ", text).replace("|", "\\|").strip()


def code_block(text: str) -> str:
    """Foreign text as it is, in a fence that it cannot close."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text.rstrip()}\n{fence}"


def code(text: str) -> str:
    """Foreign text on one line, in quotes that it cannot close."""
    line = re.sub(r"\s+", " ", text).strip()
    return f"`{line}`" if "`" not in line else f"`` {line} ``"


def bullets(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def joined(words: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _line(cells: Sequence[str], widths: Sequence[int], texts: int) -> str:
    padded = [
        cell.ljust(width) if i < texts else cell.rjust(width)
        for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return f"| {' | '.join(padded)} |"
