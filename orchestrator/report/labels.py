"""What the figures that results are compared by are called, and how they are printed."""

from __future__ import annotations

from collections.abc import Callable

from orchestrator.domain.reading import Figure
from orchestrator.report import units

_FIGURES: dict[Figure, tuple[str, Callable[[float | None], str]]] = {
    Figure.TOKEN_RATE: ("tok/s", units.number),
    Figure.TTFT_MEAN: ("TTFT mean (ms)", units.ms),
    Figure.TTFT_P50: ("TTFT p50 (ms)", units.ms),
    Figure.TTFT_P95: ("TTFT p95 (ms)", units.ms),
    Figure.TTFT_P99: ("TTFT p99 (ms)", units.ms),
    Figure.GPU_BUSY: ("GPU busy", units.percent),
    Figure.WEIGHTS_BYTES: ("weights (GB)", lambda v: units.number(None if v is None else v / 1e9)),
}


def label(figure: Figure) -> str:
    """With its unit."""
    return _FIGURES[figure][0]


def printed(figure: Figure, value: float | None, low: float | None = None, high: float | None = None) -> str:
    """`1,234`, or `1,234 (1,200 to 1,270)` with an interval, in the unit of its label."""
    text = _FIGURES[figure][1]
    return text(value) + ("" if low is None or high is None else f" ({text(low)} to {text(high)})")
