"""Series as text: a row each with a sparkline, then what got worse or better, and what had changed. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.domain.costs import Cost, Work
from orchestrator.domain.entry import Entry, Trait
from orchestrator.domain.judged import Difference, Judged, parts
from orchestrator.domain.reruns import Cause, Changed, Conclusion, Kind
from orchestrator.domain.result import Result
from orchestrator.domain.series import Change, Judgement, Trend, Watched
from orchestrator.domain.turns import Turn
from orchestrator.domain.workload import SystemPrompt
from orchestrator.report import layout, units
from orchestrator.report.figures import TOKEN_RATE, TTFT_MEAN, level
from orchestrator.report.groups import counted
from orchestrator.report.records import Stored

BARS = "▁▂▃▄▅▆▇█"
SHOWN = 30  # newest runs of a sparkline
# A sparkline's height is at least so much of its level: what is noise shall look like noise.
LEAST_HEIGHT = 0.1
NEWS = tuple(trend for trend in Trend if trend.is_news)
_NAMES = {
    Watched.TOKEN_RATE: ("token rate", "tok/s", 1.0),
    Watched.TTFT_MEAN: ("mean TTFT", "ms", 1e3),
    Watched.TTFT_P95: ("p95 TTFT", "ms", 1e3),
    Watched.ITL_MEAN: ("mean ITL", "ms", 1e3),
}
AGAIN = ("cell", "measured again", "verdict", TOKEN_RATE.title, TTFT_MEAN.title)
_AGAIN = {Kind.AGAIN: "as it is", Kind.LAST_GOOD: "with the engine of before"}
_DIGESTS = (Trait.IMAGE, Trait.BASE_IMAGE, Trait.ARGV, Trait.ENV, Trait.WEIGHTS, Trait.PACKAGES)
_DIGEST_SHOWN = 19  # of sha256:0123456789ab


def page(judged: Sequence[Judged], *, faults: Sequence[str] = ()) -> str:
    """Everything, regressions first among the findings."""
    if not judged:
        return "\n\n".join(["no result in these runs yet", *_told(faults)]) + "\n"
    headings = ("cell", "verdict", "runs", "tok/s over time", "newest tok/s", "newest TTFT (ms)")
    titles = Counter(name(one.newest) for one in judged)
    rows = [_row(one, alone=titles[name(one.newest)] == 1) for one in judged]
    found = findings(judged)
    news = layout.bullets(found) if found else "no regression and no improvement"
    return "\n\n".join([layout.table(headings, rows, texts=2), news, *_told(faults)]) + "\n"


def findings(judged: Sequence[Judged], known: Mapping[str, Conclusion] = {}) -> list[str]:
    """A line for each series with news: what is worse first. `known` has what measuring again came to, by cell."""
    return [
        "; ".join([finding(one), *([conclusion(known[one.newest.cell])] if one.newest.cell in known else [])])
        for trend in NEWS
        for one in judged
        if one.trend is trend
    ]


def changes(found: Sequence[Changed], reruns: Sequence[Stored]) -> list[str]:
    """A section of a run's report: what had changed when it was over, and what measuring again showed."""
    if not found:
        return []
    lines = [f"{layout.escape(one.found)}; **{conclusion(one.conclusion)}**" for one in found]
    rows = again(found, reruns)
    table = [layout.table(AGAIN, rows, texts=3)] if rows else []
    return [f"## {changed(found)}", layout.bullets(lines), *table]


def changed(found: Sequence[Changed]) -> str:
    """How many cells, and how many of them a second run has confirmed."""
    confirmed = sum(bool(one.conclusion.confirmed) for one in found)
    return f"{units.count(len(found), 'cell')} changed since earlier runs, {confirmed} confirmed"


def again(found: Sequence[Changed], reruns: Sequence[Stored]) -> list[list[str]]:
    """What was measured again, a row each, under AGAIN."""
    measured = {stored.cell_id: stored.result for stored in reruns if stored.result is not None}
    return [
        [one.cell, _AGAIN[kind], *_figures(measured[name])]
        for one in found
        for kind, name in one.reruns.items()
        if name in measured
    ]


def finding(one: Judged) -> str:
    """What changed, by how much and since when, and what else had changed."""
    return f"{one.trend.value}: {name(one.newest)}: {change(one)}"


def change(one: Judged) -> str:
    """The same without the cell's name."""
    texts = [one.reason] if one.reason else [_change(judgement) for judgement in one.flagged]
    return f"{'; '.join(texts)}; {differences(one.differences)}"


def turn(of: Turn) -> str:
    """Where a series became another one, as a sentence."""
    before, after = (units.count(n, "run") for n in of.runs)
    return (
        f"{_levels(of.figure, of.before, of.after)} ({_share(of.change)}), {after} against {before}; "
        f"{differences(of.differences)}"
    )


def verdict(one: Judged) -> str:
    """One word, or how many runs are missing."""
    if one.trend is Trend.NOT_ENOUGH:
        needed = max((j.needed for j in one.judgements), default=0)
        return f"{units.count(needed, 'more run')} needed"
    return f"{one.trend.value.replace('-', ' ')}{f': {one.reason}' if one.reason else ''}"


def differences(found: Sequence[Difference]) -> str:
    """The only thing that changed, or everything that did."""
    if not found:
        return "nothing that is noted has changed: the host, or chance"
    told = ", ".join(_difference(one) for one in found)
    of = parts(found)
    return f"only the {of[0].value} changed: {told}" if len(of) == 1 else f"changed: {told}"


def conclusion(of: Conclusion) -> str:
    """What re-runs have shown."""
    if of.confirmed is None:
        return "could not be measured again"
    if not of.confirmed:
        return "not confirmed by a second run"
    if of.cause is Cause.UNKNOWN:
        return "confirmed by a second run; the cause is unknown"
    how = "by a run with the engine of before" if of.tried else "by what is noted"
    return f"confirmed by a second run; cause: {of.cause.value} ({how})"


def sparkline(values: Sequence[float]) -> str:
    """A bar for each value, the newest last."""
    shown = values[-SHOWN:]
    if not shown:
        return ""
    low, high = min(shown), max(shown)
    height = max(high - low, LEAST_HEIGHT * high)
    bottom = (low + high - height) / 2
    return "".join(BARS[min(len(BARS) - 1, int((v - bottom) / height * len(BARS)))] for v in shown)


def name(of: Entry) -> str:
    """A cell as a person says it."""
    words = [of.backend, of.version, of.model, of.workload, counted([of.load])]
    if of.load.system_prompt is SystemPrompt.WITH:
        words.append("system prompt")
    return " ".join(words)


def record(one: Judged, known: Conclusion | None = None) -> dict[str, Any]:
    """The same for other programs. `known` is what measuring again came to."""
    return {
        "cell": one.newest.cell,
        "run": one.newest.run,
        "cell_key": one.newest.cell_key,
        "hardware_key": one.newest.hardware_key,
        "hardware": one.newest.hardware,
        "method": one.newest.method,
        "verdict": one.trend.value,
        "reason": one.reason,
        "figures": [judgement.model_dump(mode="json") for judgement in one.judgements],
        "runs": [entry.run for entry in one.series.entries],
        "valid_runs": [entry.run for entry in one.series.valid],
        "last_good": one.last_good.run if one.last_good else None,
        "differences": [{**d.model_dump(mode="json"), "part": d.part.value} for d in one.differences],
        "conclusion": None if known is None else known.model_dump(mode="json"),
    }


def costs(found: Mapping[Work, Cost]) -> str:
    """A row for each phase of an engine's release with a model."""
    headings = ("engine", "model", "phase", "runs", "median", "most", "last")
    rows = [
        [
            f"{work.backend} {work.release}",
            work.model,
            work.phase.value,
            f"{cost.times:,}",
            *(units.seconds(seconds) for seconds in (cost.median_s, cost.max_s, cost.last_s)),
        ]
        for work, cost in found.items()
    ]
    return f"{layout.table(headings, rows, texts=3)}\n" if rows else "no run has ended yet\n"


def _figures(result: Result) -> list[str]:
    verdict = "failed" if result.failure else level(result).value
    return [verdict, TOKEN_RATE.figure(result), TTFT_MEAN.figure(result)]


def _row(one: Judged, *, alone: bool) -> list[str]:
    """Where a person would say the same of two cells, their full names tell them apart."""
    rates, ttfts = one.series.points(Watched.TOKEN_RATE), one.newest.figures.get(Watched.TTFT_MEAN)
    rate = one.newest.figures.get(Watched.TOKEN_RATE)
    valid, of = len(one.series.valid), len(one.series.entries)
    return [
        name(one.newest) if alone else f"{name(one.newest)} ({one.newest.cell})",
        verdict(one),
        f"{valid}" if valid == of else f"{valid} of {of}",
        sparkline([point.value for point in rates]),
        units.number(rate.value if rate else None),
        units.ms(ttfts.value if ttfts else None),
    ]


def _change(judgement: Judgement) -> str:
    newest, before = judgement.newest, judgement.before
    assert newest is not None  # noqa: S101 - a change is of a newest run
    assert before is not None  # noqa: S101 - against what was before
    assert judgement.change is not None  # noqa: S101
    since = f"since {judgement.since}, against {units.count(len(judgement.baseline), 'run')}"
    levels = _levels(judgement.figure, before, newest.value)
    return f"{levels} ({_share(judgement.change)}) {since}"


def _levels(figure: Watched, before: float, after: float) -> str:
    called, unit, scale = _NAMES[figure]
    return f"{called} {units.number(before * scale)} -> {units.number(after * scale)} {unit}"


def _share(change: Change) -> str:
    ends = (f"{end * 100:+.1f}" for end in (change.low, change.high))
    return f"{change.share * 100:+.1f} %, 99 % interval {' to '.join(ends)}"


def _difference(one: Difference) -> str:
    before, after = (_value(one.trait, value) for value in (one.before, one.after))
    return f"{one.trait.value} {before} -> {after}"


def _value(trait: Trait, value: str | None) -> str:
    if value is None:
        return "unknown"
    return value[:_DIGEST_SHOWN] if trait in _DIGESTS else value


def _told(faults: Sequence[str]) -> list[str]:
    return [layout.bullets([f"not read: {fault}" for fault in faults])] if faults else []
