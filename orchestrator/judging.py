"""A load -> its judged result, with what else is known of it besides its exchanges. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.domain.counts import GENERATED, counter_growth
from orchestrator.domain.evidence import Evidence
from orchestrator.domain.metrics import Metrics
from orchestrator.domain.provenance import Provenance
from orchestrator.domain.result import Result, TelemetrySummary
from orchestrator.domain.telemetry import Sample
from orchestrator.domain.verdict import judge
from orchestrator.domain.windows import Span
from orchestrator.host.summary import summarise, throttled_share
from orchestrator.measure import Loaded


def result(
    loaded: Loaded, samples: Sequence[Sample], provenance: Provenance, *, prefix_reset: bool | None
) -> Result:
    """Figures and verdict. `samples` reach beyond the load."""
    cell, metrics = loaded.cell, loaded.metrics
    summary = steady_summary(samples, metrics, loaded.span)
    seen = evidence(loaded, samples, summary, prefix_reset=prefix_reset)
    return Result(
        cell=cell,
        started_at=loaded.started_at,
        metrics=metrics,
        verdict=judge(metrics, users=cell.load.users, evidence=seen),
        evidence=seen,
        article=loaded.article,
        telemetry=summary,
        provenance=provenance,
        notes=loaded.notes,
    )


def steady_summary(samples: Sequence[Sample], metrics: Metrics, span: Span) -> TelemetrySummary:
    """Telemetry over the window that the headline is from."""
    begin_ns = span.start_ns + round(metrics.steady_start_s * 1e9)
    return summarise(samples, begin_ns, begin_ns + round(metrics.steady_length_s * 1e9))


def evidence(
    loaded: Loaded, samples: Sequence[Sample], summary: TelemetrySummary, *, prefix_reset: bool | None
) -> Evidence:
    """`samples` reach beyond the span, so that a counter can be read at its edges. `prefix_reset` is None
    where the engine's cache cannot be emptied."""
    span, canaries = loaded.span, loaded.canaries
    workload = loaded.cell.group.workload
    return Evidence(
        engine_tokens=counter_growth(samples, GENERATED, span.start_ns, span.end_ns),
        throttled_share=throttled_share(summary),
        natural_ends=not (workload.sampling.ignore_eos or workload.cuts_answers),
        fixed_lengths=workload.sampling.ignore_eos,
        canaries=None if canaries is None else canaries.n,
        canaries_differing=0 if canaries is None else canaries.differing,
        canary_prompts_differing=0 if canaries is None else canaries.prompts,
        prefix_reset=prefix_reset,
        asked_per_s=loaded.asked_per_s,
    )
