"""The figures as the article's client would have printed them, beside ours, and what makes the difference."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.domain.article import Article
from orchestrator.domain.result import Result
from orchestrator.report import layout, units
from orchestrator.report.figures import level, marked
from orchestrator.report.groups import load_name
from orchestrator.report.headline import Names

WORDS = (
    "The article's client averages over everything, ramp included, counts tokens by tokenising each chunk of text "
    "again after stripping it, and corrects TTFT by a ping. Each row leads from our figure to its."
)
RATE = (
    "engine",
    "load",
    "ours (tok/s)",
    "ramp and drain",
    "white space",
    "tokenised again",
    "its client (tok/s)",
)
TTFT = (
    "engine",
    "load",
    "ours (mean, ms)",
    "ramp and drain",
    "ping",
    "its client (mean, ms)",
    "its p95",
    "dropped",
)


def sections(results: Sequence[Result], names: Names) -> list[str]:
    """Two tables, where anybody asked for the article's protocol."""
    found = rows(results, names)
    if found is None:
        return []
    tables = [layout.table(head, of, texts=2) for head, of in zip((RATE, TTFT), found, strict=True)]
    return ["## As the article's client would have printed it", WORDS, *tables]


def rows(results: Sequence[Result], names: Names) -> tuple[list[list[str]], list[list[str]]] | None:
    """Those of the two tables; None where nobody asked."""
    asked = [(r, r.article) for r in results if r.article is not None]
    rates = [[*_who(r, names), *_marked(_rate(a), r)] for r, a in asked]
    ttfts = [[*_who(r, names), *_marked(_ttft(a), r)] for r, a in asked]
    return (rates, ttfts) if asked else None


def _rate(a: Article) -> tuple[str, ...]:
    d = a.rate_difference
    if d is None:
        return (*[units.NOTHING] * 4, units.number(a.tokens_per_s))
    parts = (d.ramp_per_s, d.stripped_per_s, d.retokenised_per_s)
    return (units.number(d.ours_per_s), *map(units.change, parts), units.number(a.tokens_per_s))


def _ttft(a: Article) -> tuple[str, ...]:
    d = a.ttft_difference
    ours = (
        [units.NOTHING] * 3
        if d is None
        else [units.ms(d.ours_s), units.change(d.ramp_s * 1e3), units.change(d.ping_s * 1e3)]
    )
    return (*ours, units.ms(a.ttft_s.mean), units.ms(a.ttft_s.p95), f"{a.dropped:,}")


def _who(result: Result, names: Names) -> tuple[str, str]:
    return names[result.cell.group], f"{result.cell.group.model}, {load_name(result.cell)}"


def _marked(texts: Sequence[str], result: Result) -> list[str]:
    return [marked(text, level(result)) for text in texts]
