"""Samples -> means and maxima over a window. Pure; what each series means stands in docs/telemetry.md."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.domain import readings
from orchestrator.domain.result import TelemetrySummary
from orchestrator.domain.telemetry import Sample

# Series that only ever grow, by the end of their name, and what their rate is called.
RATES = {".cpu_s": ".cpu_cores", "_total": "_per_s"}

# Bit masks have neither a mean nor a maximum; their decoded flags have.
MASKS = ("_mask",)

SLOWED = tuple(f".throttle_{r}" for r in ("hw_slowdown", "sw_thermal", "hw_thermal", "hw_power_brake"))


def summarise(samples: Sequence[Sample], from_ns: int, to_ns: int) -> TelemetrySummary:
    """Mean and maximum of each series from one moment to another; growing series become rates."""
    mean: dict[str, float] = {}
    peak: dict[str, float] = {}
    for name, series in readings.by_name(samples).items():
        if name.endswith(MASKS):
            continue
        ending = next((e for e in RATES if name.endswith(e)), None)
        title = name if ending is None else name.removesuffix(ending) + RATES[ending]
        read = readings.level if ending is None else readings.rate
        figures = read(series, from_ns, to_ns)
        if figures is not None:
            mean[title], peak[title] = figures.mean, figures.max
    return TelemetrySummary(mean=mean, max=peak)


def throttled(summary: TelemetrySummary) -> tuple[float | None, str]:
    """The share of the time in which the worst GPU was slowed down for heat or power supply, and for which
    reason most of it; None without a GPU. A software power cap is normal under load."""
    shares = {name: value for name, value in summary.mean.items() if name.endswith(SLOWED)}
    if not shares:
        return None, ""
    worst = max(shares, key=lambda name: shares[name])
    return shares[worst], worst.replace(".throttle_", " ") if shares[worst] else ""
