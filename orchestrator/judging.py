"""A load -> its judged result, with what else is known of it besides its exchanges. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.domain import incidents
from orchestrator.domain.counts import GENERATED, counter_growth
from orchestrator.domain.evidence import Evidence
from orchestrator.domain.looks import Sighting
from orchestrator.domain.metrics import Metrics
from orchestrator.domain.provenance import Provenance
from orchestrator.domain.result import Result, TelemetrySummary
from orchestrator.domain.telemetry import Sample
from orchestrator.domain.verdict import judge
from orchestrator.domain.windows import Span
from orchestrator.host.summary import summarise, throttled
from orchestrator.measure import Loaded


def result(
    loaded: Loaded,
    samples: Sequence[Sample],
    provenance: Provenance,
    *,
    prefix_reset: bool | None,
    sightings: Sequence[Sighting] = (),
) -> Result:
    """Figures and verdict. `samples` reach beyond the load, `sightings` of strangers on its GPUs do not."""
    cell, metrics = loaded.cell, loaded.metrics
    summary = steady_summary(samples, metrics, loaded.span)
    seen = evidence(loaded, samples, prefix_reset=prefix_reset).model_copy(
        update=of_the_host(samples, summary, loaded.span, provenance, sightings)
    )
    return Result(
        cell=cell,
        started_at=loaded.started_at,
        span=loaded.span,
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


def evidence(loaded: Loaded, samples: Sequence[Sample], *, prefix_reset: bool | None) -> Evidence:
    """`samples` reach beyond the span, so that a counter can be read at its edges. `prefix_reset` is None
    where the engine's cache cannot be emptied."""
    span, canaries = loaded.span, loaded.canaries
    workload = loaded.cell.group.workload
    return Evidence(
        engine_tokens=counter_growth(samples, GENERATED, span.start_ns, span.end_ns),
        natural_ends=not (workload.sampling.ignore_eos or workload.cuts_answers),
        fixed_lengths=workload.sampling.ignore_eos,
        canaries=None if canaries is None else canaries.n,
        canaries_differing=0 if canaries is None else canaries.differing,
        canary_prompts_differing=0 if canaries is None else canaries.prompts,
        prefix_reset=prefix_reset,
        asked_per_s=loaded.asked_per_s,
    )


def of_the_host(
    samples: Sequence[Sample],
    summary: TelemetrySummary,
    span: Span,
    provenance: Provenance,
    sightings: Sequence[Sighting],
) -> dict[str, object]:
    """Evidence of what befell the GPUs and the client's CPUs, by field."""
    share, by = throttled(summary)
    edges = span.start_ns, span.end_ns
    strangers = {s.process.pid: s.process for s in sightings}
    asked = incidents.looked_for(samples, ".foreign_processes", *edges)
    return {
        "throttled_share": share,
        "throttled_by": by,
        "foreign_processes": len(strangers) if asked or strangers else None,
        "foreign_computing": sum(not process.graphics for process in strangers.values()),
        "foreign": tuple(s.text for s in sightings),
        "xids": incidents.xids(samples, *edges),
        "gpus_lost": incidents.lost(samples, *edges),
        "ecc_corrected": incidents.growth(samples, ".ecc_corrected_errors", *edges),
        "ecc_uncorrected": incidents.growth(samples, ".ecc_uncorrected_errors", *edges),
        "gpus": None if provenance.gpus is None else len(provenance.gpus),
        "others_cpus": incidents.others_cpus(summary.mean),
        "host_cpus": provenance.host.cpus,
        "client_apart": provenance.cpus.apart if provenance.cpus else None,
    }
