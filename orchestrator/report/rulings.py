"""Claims, published results and earlier runs as text: the verdict first, then what it rests on. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from backends.contract import Deviation
from orchestrator.domain.claim import Confounder
from orchestrator.domain.court import ClaimRuling, Exhibit, PartRuling
from orchestrator.domain.equivalence import MARGINS, MOST_RUNS, Answer, Basis, Equivalence
from orchestrator.domain.published import FigureRuling, PublishedFigure, PublishedRuling
from orchestrator.domain.rerun import CellTest, Rerun
from orchestrator.domain.ruling import Ruling
from orchestrator.report import contrasts, layout, units
from orchestrator.report.labels import label, printed

CLAIMS = ("claim", "what it says", "verdict", "runs")
WITHIN = (
    "One run on each side: the intervals hold what figures moved within these two runs. They say nothing of how "
    "another start of the same engine would differ; for that, judge several runs: --from RUN,RUN,RUN."
)
MARGINS_HELD = (
    "Margins: {}. Equivalent: the 90 % interval of the ratio lies within them (two one-sided tests at 5 %); different: "
    "it lies beyond them, after Holm's correction over all figures."
)
BETWEEN = (
    "Whole runs are the pieces of evidence: the intervals hold how runs of the same thing differ. `N more`: further runs of "
    "it that lie here; they tell how far such runs differ and are not judged."
)


def claims(rulings: Sequence[ClaimRuling]) -> str:
    """Every claim with its verdict, then each part with its evidence."""
    table = layout.table(CLAIMS, claim_rows(rulings), texts=4)
    return "\n\n".join([table, *(claim(r) for r in rulings)]) + "\n"


def claim_rows(rulings: Sequence[ClaimRuling]) -> list[list[str]]:
    """A row per claim, under CLAIMS."""
    return [
        [r.claim.id, r.claim.title, r.ruling.value, ", ".join(_runs(r)) or units.NOTHING] for r in rulings
    ]


def claim(ruling: ClaimRuling) -> str:
    """One claim: our paraphrase, its source, its parts."""
    of = ruling.claim
    return "\n".join(
        [
            f"## Claim {of.id}: {ruling.ruling.value}",
            "",
            of.paraphrase,
            f"({of.source})",
            *([f"Note: {of.note}"] if of.note else []),
            "",
            *(line for part in ruling.parts for line in _part(part)),
        ]
    )


def asked(figures: Sequence[PublishedFigure], confounders: Sequence[Confounder]) -> str:
    """Of a published result that is not run yet: what it would be held against, and what is known of it."""
    stated = [f"published: {label(f.figure)} {_stated(f)} ({f.precision.value}: {f.words})" for f in figures]
    known = [f"confounder: {c.text}" for c in confounders]
    return (
        "\n".join(
            [*(stated or ["published: no figure of this cell, only words (levelbench claims)"]), *known]
        )
        + "\n"
    )


def published(ruling: PublishedRuling, *, with_claims: bool = True) -> str:
    """A published result: verdict, published against measured, what differs, what confounds."""
    parts = [
        f"# {ruling.result}: {ruling.ruling.value}",
        *([f"By its figures alone it would be: {ruling.would_be.value}."] if ruling.would_be else []),
        *([layout.bullets(ruling.reasons)] if ruling.reasons else []),
        *_published_figures(ruling.figures),
        *_all_figures(ruling),
        *([contrasts.beside(ruling.matched)] if ruling.matched else []),
        *([contrasts.differing(ruling.provenance, ("published", "ours"))] if ruling.run else []),
        *_titled("Not as the publication's service did it", map(_deviation, ruling.unmet)),
        *_titled("Known confounders", (f"{c.text} ({c.source})" for c in ruling.confounders)),
    ]
    if with_claims and ruling.claims:
        rows = [[r.claim.id, r.claim.title, r.ruling.value] for r in ruling.claims]
        table = layout.table(["claim", "what it says", "verdict"], rows, texts=3)
        parts.append(f"## Claims that speak of this cell, by all runs here\n\n{table}")
    return "\n\n".join(parts) + "\n"


def rerun(ruling: Rerun) -> str:
    """An earlier run against later ones."""
    bases = {t.test.basis for t in ruling.tests}
    parts = [
        f"# {ruling.result}: {_answer(ruling)}",
        f"Judged by {ruling.judged_by}.",
        *([layout.bullets(ruling.reasons)] if ruling.reasons else []),
        *([_tests(ruling.tests)] if ruling.tests else []),
        *([WITHIN] if Basis.WITHIN in bases else []),
        *([BETWEEN] if Basis.BETWEEN in bases else []),
        MARGINS_HELD.format(_margins()),
        *_titled("Not tested", ruling.unjudged),
        contrasts.differing(ruling.differences),
    ]
    return "\n\n".join(parts) + "\n"


def _part(part: PartRuling) -> list[str]:
    read = f" [read as: {part.reading}]" if part.reading else ""
    would = f"; by its figures alone: {part.would_be.value}" if part.would_be else ""
    details = [*part.reasons, *([part.statement] if part.statement else []), *map(_exhibit, part.exhibits)]
    return [f"- {part.ruling.value}: {part.words}{read}{would}", *(f"    - {text}" for text in details)]


def _exhibit(e: Exhibit) -> str:
    mark = " (suspect)" if e.suspect else ""
    ours = "" if e.ours is None or e.ours == e.value else f", ours {printed(e.figure, e.ours)}"
    return (
        f"{e.address}: {label(e.figure)} {printed(e.figure, e.value, e.low, e.high)}{ours}{mark}, run {e.run}"
    )


def _published_figures(figures: Sequence[FigureRuling]) -> list[str]:
    if not figures:
        return []
    headings = [
        "figure",
        "published",
        "how exactly",
        "measured as its client would have (95 %)",
        "ours",
        "verdict",
    ]
    rows = [
        [
            label(f.published.figure),
            _stated(f.published),
            f"{f.published.precision.value}: {f.published.words} (claim {f.published.claim})",
            units.NOTHING if e is None else printed(e.figure, e.value, e.low, e.high),
            units.NOTHING if e is None else printed(e.figure, e.ours),
            f.ruling.value,
        ]
        for f in figures
        for e in (f.exhibit,)
    ]
    return ["## Published and measured", layout.table(headings, rows, texts=6)]


def _stated(of: PublishedFigure) -> str:
    if of.above is not None and of.below is not None:
        return f"{printed(of.figure, of.above)} to {printed(of.figure, of.below)}"
    return (
        f"above {printed(of.figure, of.above)}"
        if of.below is None
        else f"below {printed(of.figure, of.below)}"
    )


def _all_figures(ruling: PublishedRuling) -> list[str]:
    if not ruling.measured:
        return []
    headings = ["figure", "as its client would have (95 %)", "ours"]
    rows = [
        [label(e.figure), printed(e.figure, e.value, e.low, e.high), printed(e.figure, e.ours)]
        for e in ruling.measured
    ]
    return [f"## Everything measured of this cell (run {ruling.run})", layout.table(headings, rows)]


def _answer(ruling: Rerun) -> str:
    if ruling.ruling is not Ruling.UNDECIDED:
        return str(ruling.ruling.value)
    wanting = [t.test.needed for t in ruling.tests if t.test.answer is Answer.UNDECIDED]
    if not wanting:
        return "undecided: nothing could be tested"
    if None in wanting:
        return f"undecided: more than {MOST_RUNS} runs of each side would be needed, or longer ones"
    return f"undecided: needs about {max(n for n in wanting if n is not None)} more runs of each side"


def _tests(tests: Sequence[CellTest]) -> str:
    headings = [
        "cell",
        "figure",
        "verdict",
        "earlier",
        "later",
        "ratio (90 %)",
        "margin",
        "p same",
        "p differ",
        "runs",
    ]
    rows = [[t.cell, label(t.test.figure), *_tested(t.test)] for t in tests]
    return layout.table(headings, rows, texts=3)


def _tested(t: Equivalence) -> tuple[str, ...]:
    return (
        t.answer.value,
        printed(t.figure, t.first),
        printed(t.figure, t.second),
        f"{t.ratio:.3f} ({t.low:.3f} to {t.high:.3f})",
        units.percent(t.margin),
        f"{t.p_equivalent:.3f}",
        f"{t.p_different:.3f}",
        f"{t.runs[0]} and {t.runs[1]}" + (f", {t.kin} more" if t.kin else ""),
    )


def _titled(title: str, lines: Iterable[str]) -> list[str]:
    found = list(lines)
    return [f"## {title}", layout.bullets(found)] if found else []


def _deviation(d: Deviation) -> str:
    return f"{d.setting}: {d.value}; {d.reason}"


def _margins() -> str:
    return ", ".join(f"{label(figure)} {margin:.0%}" for figure, margin in MARGINS.items())


def _runs(ruling: ClaimRuling) -> tuple[str, ...]:
    return tuple(dict.fromkeys(e.run for part in ruling.parts for e in part.exhibits))
