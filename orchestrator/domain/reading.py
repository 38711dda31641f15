"""One figure of one result with its interval, the same for everything that compares results. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from math import log

from orchestrator.domain.intervals import Bounds, student
from orchestrator.domain.metrics import Metrics
from orchestrator.domain.result import Result

GPU_UTILISATION = "utilisation_percent"
WEIGHTS = "weights"


class Figure(str, Enum):
    """What results are compared by."""

    TOKEN_RATE = "tokens_per_s"  # noqa: S105 - a figure's id
    TTFT_MEAN = "ttft_mean_s"
    TTFT_P50 = "ttft_p50_s"
    TTFT_P95 = "ttft_p95_s"
    TTFT_P99 = "ttft_p99_s"
    GPU_BUSY = "gpu_busy_share"
    WEIGHTS_BYTES = "weights_bytes"

    @property
    def more_is_better(self) -> bool:
        return not self.value.startswith("ttft")


@dataclass(frozen=True, slots=True)
class Spread:
    """How far a figure's logarithm moves within its run, and on how many degrees of freedom that rests."""

    deviation: float
    freedom: float


@dataclass(frozen=True, slots=True)
class Reading:
    """A figure of one run. `low` and `high` are its 95 % interval within the run, `blocks` how many independent
    pieces of the run that rests on; all None where the run was too short for an interval. An `exact` figure
    (a size, a mean of the machine's own counters) has none and needs none."""

    value: float
    low: float | None = None
    high: float | None = None
    blocks: float | None = None
    exact: bool = False

    @property
    def ends(self) -> tuple[float, float] | None:
        """The interval; of an exact figure the figure itself."""
        if self.exact:
            return self.value, self.value
        return None if self.low is None or self.high is None else (self.low, self.high)

    @property
    def spread(self) -> Spread | None:
        """Of the logarithm: the interval's half width undone of Student's factor by which it was widened
        (orchestrator/domain/intervals.py). None without an interval that lies above 0."""
        if self.exact:
            return Spread(0.0, float("inf"))
        if self.low is None or self.high is None or self.blocks is None or self.low <= 0:
            return None
        freedom = max(1.0, self.blocks - 1)
        return Spread(log(self.high / self.low) / 2 / student(freedom), freedom)

    def scaled(self, value: float) -> Reading:
        """Another figure of the same run, which is taken to move in proportion to this one."""
        by = value / self.value if self.value else 0.0
        low, high = (None if end is None else end * by for end in (self.low, self.high))
        return Reading(value, low, high, self.blocks, self.exact)


def read(result: Result, figure: Figure) -> Reading | None:
    """The figure of a result; None where it does not exist."""
    if figure is Figure.WEIGHTS_BYTES:
        sizes = [step.output_bytes for step in result.steps if step.id == WEIGHTS]
        return Reading(float(sizes[0]), exact=True) if sizes else None
    if result.metrics is None:
        return None
    if figure is Figure.GPU_BUSY:
        return _gpu_busy(result)
    return _measured(result.metrics, figure)


def read_literal(result: Result, figure: Figure) -> Reading | None:
    """The figure as the article's client would have printed it, else None.

    Its averages have no interval of their own: they take in the ramp, which is not stationary. They get that of our
    figure, in proportion.
    """
    ours, article = read(result, figure), result.article
    if ours is None or article is None:
        return None
    literal = {
        Figure.TOKEN_RATE: article.tokens_per_s,
        Figure.TTFT_MEAN: article.ttft_s.mean,
        Figure.TTFT_P50: article.ttft_s.median,
        Figure.TTFT_P95: article.ttft_s.p95,
        Figure.TTFT_P99: article.ttft_s.p99,
    }.get(figure)
    return None if literal is None else ours.scaled(literal)


def _measured(m: Metrics, figure: Figure) -> Reading | None:
    of, bounds = m.ttft_s, m.ttft_s_bounds
    value, interval = {
        Figure.TOKEN_RATE: (m.tokens_per_s, m.tokens_per_s_bounds),
        Figure.TTFT_MEAN: (of.mean, bounds.mean),
        Figure.TTFT_P50: (of.p50, bounds.p50),
        Figure.TTFT_P95: (of.p95, bounds.p95),
        Figure.TTFT_P99: (of.p99, bounds.p99),
    }[figure]
    return _reading(value, interval)


def _reading(value: float | None, bounds: Bounds | None) -> Reading | None:
    if value is None or value <= 0:
        return None
    return Reading(value) if bounds is None else Reading(value, bounds.low, bounds.high, bounds.blocks)


def _gpu_busy(result: Result) -> Reading | None:
    means = result.telemetry.mean.items()
    each = [v for name, v in means if name.startswith("gpu") and name.partition(".")[2] == GPU_UTILISATION]
    return Reading(sum(each) / len(each) / 100, exact=True) if each else None
