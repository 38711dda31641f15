"""Series as text: a row each with a sparkline, then what got worse or better, and what had changed. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.domain.costs import Cost, Work
from orchestrator.domain.entry import Entry, Trait
from orchestrator.domain.judged import Difference, Judged, parts
from orchestrator.domain.reruns import Cause, Conclusion
from orchestrator.domain.series import Change, Judgement, Trend, Watched
from orchestrator.report import layout, units

BARS = "▁▂▃▄▅▆▇█"
SHOWN = 30  # newest runs of a sparkline
# A sparkline's height is at least so much of its level: what is noise shall look like noise.
LEAST_HEIGHT = 0.1
NEWS = (Trend.REGRESSION, Trend.IMPROVEMENT)
_NAMES = {
    Watched.TOKEN_RATE: ("token rate", "tok/s", 1.0),
    Watched.TTFT_MEAN: ("mean TTFT", "ms", 1e3),
    Watched.TTFT_P95: ("p95 TTFT", "ms", 1e3),
    Watched.ITL_MEAN: ("mean ITL", "ms", 1e3),
}
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


def findings(judged: Sequence[Judged]) -> list[str]:
    """A line for each series with news: what is worse first."""
    return [finding(one) for trend in NEWS for one in judged if one.trend is trend]


def finding(one: Judged) -> str:
    """What changed, by how much and since when, and what else had changed."""
    texts = [one.reason] if one.reason else [_change(judgement) for judgement in one.flagged]
    return f"{one.trend.value}: {name(one.newest)}: {'; '.join(texts)}; {differences(one.differences)}"


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
    words = [of.backend, of.version, of.model, of.workload, units.count(of.users, "user")]
    if of.system_prompt == "with":
        words.append("system prompt")
    return " ".join(words)


def record(one: Judged) -> dict[str, Any]:
    """The same for other programs."""
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
    called, unit, scale = _NAMES[judgement.figure]
    newest, before = judgement.newest, judgement.before
    assert newest is not None  # noqa: S101 - a change is of a newest run
    assert before is not None  # noqa: S101 - against what was before
    assert judgement.change is not None  # noqa: S101
    levels = f"{units.number(before * scale)} -> {units.number(newest.value * scale)} {unit}"
    since = f"since {judgement.since}, against {units.count(len(judgement.baseline), 'run')}"
    return f"{called} {levels} ({_share(judgement.change)}) {since}"


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
