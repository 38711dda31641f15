"""Which results stand side by side, what they are called, and in which order they come."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import inf
from operator import attrgetter

from backends.contract import PrefixCaching
from orchestrator.domain.cell import Cell, CellGroup, Load, Role
from orchestrator.domain.reasons import Level
from orchestrator.domain.result import Result
from orchestrator.domain.workload import SystemPrompt
from orchestrator.report.figures import level, worse
from orchestrator.report.layout import joined
from orchestrator.report.records import Stored
from orchestrator.report.units import count

USERS = "users"
RATE = "rate (1/s)"
OWN_PACE = "the trace's own pace"
_PREFIX = {
    PrefixCaching.PROFILE: "prefix cache as in the profile",
    PrefixCaching.ON: "prefix cache on",
    PrefixCaching.OFF: "prefix cache off",
}


@dataclass(frozen=True, slots=True)
class Field:
    """Cells that had the same work to do, but for how much of it at a time."""

    title: str
    cells: tuple[Stored, ...]

    @property
    def results(self) -> tuple[Result, ...]:
        """Those that ended, with figures or with a failure."""
        return tuple(stored.result for stored in self.cells if stored.result is not None)

    @property
    def by_load(self) -> tuple[tuple[Load, tuple[Result, ...]], ...]:
        ordered = sorted(self.results, key=attrgetter("cell.load.size"))
        return tuple((load, tuple(of)) for load, of in groupby(ordered, attrgetter("cell.load")))

    @property
    def measure(self) -> str:
        """The heading of `load_size`."""
        is_open = any(stored.cell is not None and stored.cell.load.arrivals for stored in self.cells)
        return RATE if is_open else USERS


@dataclass(frozen=True, slots=True)
class Standing:
    """A result's place among those of the same work and load: by token rate, or in an open loop, which asks the
    same of every engine, by what was answered within limits (where there are any), then by mean TTFT."""

    rank: int
    result: Result
    rate_ratio: float
    rate_level: Level
    ttft_ratio: float | None
    ttft_level: Level


def fields(cells: Sequence[Stored]) -> tuple[Field, ...]:
    """One field per model, workload and system prompt, in the order in which they were planned. Control cells and
    confirmations compete with nobody."""
    known: dict[tuple[str, str, str], list[Stored]] = {}
    for stored in cells:
        if stored.cell is not None and stored.cell.group.role is Role.MEASURED:
            known.setdefault(_work(stored.cell), []).append(stored)
    several_workloads = len({workload for _, workload, _ in known}) > 1
    return tuple(
        Field(_title(key, with_workload=several_workloads), _by_size(of)) for key, of in known.items()
    )


def names(cells: Iterable[Stored]) -> dict[CellGroup, str]:
    """What each deployment is called: backend and version, and only what else tells them apart."""
    groups = tuple({stored.cell.group: None for stored in cells if stored.cell is not None})
    return {group: _name(group, groups) for group in groups}


def lines(groups: Sequence[CellGroup]) -> dict[CellGroup, str]:
    """What they are called over time, where an engine's version may change."""
    return {g: _told(g.backend, g, [o for o in groups if o.backend == g.backend]) for g in groups}


def load_name(cell: Cell) -> str:
    suffix = ", system prompt" if cell.load.system_prompt is SystemPrompt.WITH else ""
    return counted([cell.load]) + suffix


def load_size(load: Load) -> str:
    """How much at a time, without its unit: users, or requests per second."""
    if load.arrivals is None:
        return f"{load.users:,}"
    return "as recorded" if load.rate_per_s is None else f"{load.rate_per_s:g}"


def counted(loads: Sequence[Load]) -> str:
    """Loads of one workload with their unit: `1, 4 and 16 users`."""
    *others, last = loads
    if last.arrivals is None:
        words = count(last.users, "user")
    else:
        words = OWN_PACE if last.rate_per_s is None else f"{load_size(last)} requests/s"
    return joined([*map(load_size, others), words])


def standings(results: Sequence[Result]) -> tuple[Standing, ...]:
    """The ranking of results that may be compared: judged not invalid, and all of one METHOD."""
    fit = [r for r in results if r.metrics is not None and level(r) is not Level.INVALID]
    if len({r.method for r in fit}) > 1:
        return ()
    fastest = max(fit, key=_rate, default=None)
    answered = [r for r in fit if _ttft_s(r)]
    quickest = min(answered, key=_ttft_s, default=None)
    ranked = sorted(fit, key=_merit)
    return tuple(_standing(i, r, fastest or r, quickest) for i, r in enumerate(ranked, 1))


def is_open(results: Iterable[Result]) -> bool:
    """Whether the loop was: requests were sent when they were due."""
    return any(r.cell.load.arrivals is not None for r in results)


def _merit(result: Result) -> tuple[float, float]:
    """The best first."""
    if not is_open([result]):
        return -_rate(result), 0.0
    good = result.metrics.goodput_per_s if result.metrics else None
    return -(good or 0.0), _ttft_s(result) or inf


def _standing(rank: int, result: Result, best: Result, quickest: Result | None) -> Standing:
    ttft_s = _ttft_s(result)
    return Standing(
        rank=rank,
        result=result,
        rate_ratio=_rate(result) / _rate(best) if _rate(best) else 0.0,
        rate_level=worse(level(result), level(best)),
        ttft_ratio=ttft_s / _ttft_s(quickest) if quickest and ttft_s else None,
        ttft_level=worse(level(result), level(quickest or result)),
    )


def _rate(result: Result) -> float:
    return result.metrics.tokens_per_s if result.metrics else 0.0


def _ttft_s(result: Result) -> float:
    return (result.metrics.ttft_s.mean or 0.0) if result.metrics else 0.0


def _work(cell: Cell) -> tuple[str, str, str]:
    return cell.group.compared_as, cell.group.workload.id, cell.load.system_prompt.value


def _title(key: tuple[str, str, str], *, with_workload: bool) -> str:
    model, workload, system_prompt = key
    title = f"{model}, {workload}" if with_workload else model
    return f"{title} with system prompt" if system_prompt == SystemPrompt.WITH.value else title


def _by_size(cells: list[Stored]) -> tuple[Stored, ...]:
    return tuple(sorted(cells, key=lambda stored: stored.cell.load.size if stored.cell else 0))


def _name(group: CellGroup, groups: Sequence[CellGroup]) -> str:
    alike = [g for g in groups if (g.backend, g.version) == (group.backend, group.version)]
    return _told(f"{group.backend} {group.version}", group, alike)


def _told(called: str, group: CellGroup, alike: Sequence[CellGroup]) -> str:
    traits = ("release", "profile", "accelerator", "gpus", "runtime", "serving")
    told = [t for t in traits if len({getattr(g, t) for g in alike}) > 1]
    words = [_word(t, getattr(group, t)) for t in (*told, *(["serving"] if _is_untold(group, told) else []))]
    words = [word for word in words if word]
    if len({g.prefix_caching for g in alike}) > 1:
        words.append(_PREFIX[group.prefix_caching])
    if len({g.extra_args for g in alike}) > 1 and group.extra_args:
        words.append(" ".join(group.extra_args))
    extra = ", ".join(words)
    return called + (f" ({extra})" if extra else "")


def _is_untold(group: CellGroup, told: Sequence[str]) -> bool:
    """A serving layer is told of also where there is nothing to tell it from."""
    return group.serving is not None and "serving" not in told


def _word(trait: str, value: object) -> str:
    if trait == "serving":
        return f"behind {value}" if value else "native"
    if trait == "gpus":
        asked = str(value)
        return count(int(asked), "GPU") if asked.isdigit() else asked
    return "" if value is None else str(getattr(value, "value", value))
