"""What else is known of a cell's load, besides its exchanges: what the verdict looks at. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.domain.cell import Cell
from orchestrator.domain.counts import GENERATED, counter_growth
from orchestrator.domain.evidence import Evidence
from orchestrator.domain.metrics import Metrics
from orchestrator.domain.result import TelemetrySummary
from orchestrator.domain.telemetry import Sample
from orchestrator.domain.windows import Span
from orchestrator.host.summary import summarise, throttled_share


def steady_summary(samples: Sequence[Sample], metrics: Metrics, span: Span) -> TelemetrySummary:
    """Telemetry over the window that the headline is from."""
    begin_ns = span.start_ns + round(metrics.steady_start_s * 1e9)
    return summarise(samples, begin_ns, begin_ns + round(metrics.steady_length_s * 1e9))


def evidence(
    cell: Cell, samples: Sequence[Sample], summary: TelemetrySummary, span: Span, *, prefix_reset: bool | None
) -> Evidence:
    """`samples` reach beyond the span, so that a counter can be read at its edges. `prefix_reset` is None
    where the engine's cache cannot be emptied."""
    return Evidence(
        engine_tokens=counter_growth(samples, GENERATED, span.start_ns, span.end_ns),
        throttled_share=throttled_share(summary),
        natural_ends=not cell.group.workload.sampling.ignore_eos,
        prefix_reset=prefix_reset,
    )
