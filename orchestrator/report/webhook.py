"""What a webhook is sent: plain JSON that any receiver can use, with a `text` that Slack shows. Pure."""

from __future__ import annotations

from typing import Any

from orchestrator.report import summary
from orchestrator.report.summary import Summary

LINES = 20
TEXT_CHARACTERS = 3000  # Slack cuts what is longer than a section of its own


def body(of: Summary) -> dict[str, Any]:
    """`text` for people, `levelbench` for programs."""
    return {"text": text(of), "levelbench": summary.as_json(of)}


def text(of: Summary) -> str:
    """In Slack's own marks: bold title, the tally, then what is wrong."""
    title = f"*levelbench {_plain(of.run)}*: {'well' if of.is_well else 'needs a look'}"
    trouble = [f"{case.cell}: {case.text}" for case in of.cases if case.ending.is_trouble]
    lines = [*of.findings, *trouble]
    shown = [f"\u2022 {_plain(line)}" for line in lines[:LINES]]
    more = [f"and {len(lines) - LINES} more"] if len(lines) > LINES else []
    whole = "\n".join([title, _plain(of.tally), *shown, *more])
    return whole if len(whole) <= TEXT_CHARACTERS else f"{whole[: TEXT_CHARACTERS - 1]}\u2026"


def _plain(text: str) -> str:
    """Slack takes these three for marks: an engine's message must not ping a channel."""
    return " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
