"""How long each phase of a group may take before it counts as hanging. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.domain.plan import GroupPlan
from orchestrator.domain.result import Phase

# A transfer or a build that is slower than that, over the whole of it, will not come to an end tonight
SLOWEST_BYTES_PER_S = 10e6
TRANSFER_S = 1800.0
UP_S = 600.0
PER_WARMUP_REQUEST_S = 300.0
BEYOND_LOAD_S = 300.0
# An engine that reads weights or compiles may say nothing for long; the larger its weights, the longer
SILENCE_S = 600.0
SILENT_BYTES_PER_S = 100e6


def deadlines_s(plan: GroupPlan, asked_minutes: Mapping[Phase, float]) -> dict[Phase, float]:
    """Seconds by phase: what the night asks for, else what follows from sizes and lengths. Steps and readiness have
    deadlines of their own, from the adapter; a teardown is never cut short."""
    workload = plan.group.workload
    images_bytes = sum(image.build.install_bytes for image in plan.images)
    usual = {
        Phase.IMAGE: TRANSFER_S + images_bytes / SLOWEST_BYTES_PER_S,
        Phase.WEIGHTS: TRANSFER_S + plan.model.source.weights_bytes / SLOWEST_BYTES_PER_S,
        Phase.UP: UP_S,
        Phase.WARMUP: BEYOND_LOAD_S + PER_WARMUP_REQUEST_S * workload.warmup_requests,
        Phase.MEASURE: workload.length_s + BEYOND_LOAD_S,
    }
    return usual | {phase: minutes * 60 for phase, minutes in asked_minutes.items()}


def silence_s(plan: GroupPlan) -> float:
    """For how long an engine that loads may neither say nor answer anything."""
    return SILENCE_S + plan.model.source.weights_bytes / SILENT_BYTES_PER_S
