"""What the history says, as the site shows it: where series turned, and what is worse or better now. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.domain.judged import Judged
from orchestrator.domain.series import BASELINE, Trend, Watched
from orchestrator.domain.turns import Turn, turns
from orchestrator.report import history
from orchestrator.report.layout import joined

WORDS = {Trend.REGRESSION: "worse", Trend.IMPROVEMENT: "better"}


@dataclass(frozen=True, slots=True)
class ChangePoint:
    """From this cell on a series is another one. `words` say how, `short` fits a chart."""

    run_id: str
    cell_id: str
    figure: Watched
    words: str
    short: str


@dataclass(frozen=True, slots=True)
class News:
    """A series whose newest run is not as those before it; `word` is worse or better."""

    run_id: str
    cell_id: str
    word: str
    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Past:
    """Of all series: `standing` says how many stand how, `title` what that comes to."""

    changes: tuple[ChangePoint, ...] = ()
    news: tuple[News, ...] = ()
    title: str = ""
    standing: str = ""


UNTOLD = Past()


def past(judged: Sequence[Judged]) -> Past:
    """What is worse comes first."""
    return Past(
        changes=tuple(_change(turn) for one in judged for turn in turns(one.series)),
        news=tuple(_news(one) for trend in WORDS for one in judged if one.trend is trend),
        title=_title([one.trend for one in judged]),
        standing=_standing(judged),
    )


def _spoken(text: str) -> str:
    """With an arrow that no line ends within."""
    return text.replace(" -> ", " \N{RIGHTWARDS ARROW} ")


def _title(trends: Sequence[Trend]) -> str:
    if any(trend.is_news for trend in trends):
        return "Worse or better than before"
    return "Nothing is worse or better" if Trend.STEADY in trends else "Nothing can be judged yet"


def _change(turn: Turn) -> ChangePoint:
    word = WORDS[turn.trend]
    short = f"{word} {turn.change.share * 100:+.1f} %"
    return ChangePoint(turn.run, turn.cell, turn.figure, _spoken(f"{word}: {history.turn(turn)}"), short)


def _news(one: Judged) -> News:
    newest = one.newest
    return News(newest.run, newest.cell, WORDS[one.trend], history.name(newest), _spoken(history.change(one)))


def _standing(judged: Sequence[Judged]) -> str:
    if not judged:
        return ""
    of = Counter(one.trend for one in judged)
    told = [
        f"{of[trend]} {words}"
        for trend, words in (
            (Trend.REGRESSION, "worse than before"),
            (Trend.IMPROVEMENT, "better"),
            (Trend.STEADY, "steady"),
            (Trend.NOT_ENOUGH, f"with fewer than {BASELINE + 1} valid runs, too few to judge"),
            (Trend.NOT_COMPARABLE, "whose newest run cannot be compared"),
        )
        if of[trend]
    ]
    return f"{len(judged):,} series: {joined(told)}."
