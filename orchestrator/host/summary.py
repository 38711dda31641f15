"""Samples -> means and maxima over a window. Pure; what each series means stands in docs/telemetry.md."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from orchestrator.domain.result import TelemetrySummary
from orchestrator.domain.telemetry import Sample

Floats = npt.NDArray[np.float64]
Series = tuple[Floats, Floats]

# Series that only ever grow, by the end of their name, and what their rate is called.
RATES = {".cpu_s": ".cpu_cores", "_total": "_per_s"}

# Bit masks have neither a mean nor a maximum; their decoded flags have.
MASKS = ("_mask",)

SLOWED = tuple(f".throttle_{r}" for r in ("hw_slowdown", "sw_thermal", "hw_thermal", "hw_power_brake"))


def summarise(samples: Sequence[Sample], from_ns: int, to_ns: int) -> TelemetrySummary:
    """Mean and maximum of each series from one moment to another; growing series become rates."""
    mean: dict[str, float] = {}
    peak: dict[str, float] = {}
    for name, series in _by_name(samples).items():
        if name.endswith(MASKS):
            continue
        ending = next((e for e in RATES if name.endswith(e)), None)
        title = name if ending is None else name.removesuffix(ending) + RATES[ending]
        figures = _level(series, from_ns, to_ns) if ending is None else _rate(series, from_ns, to_ns)
        if figures is not None:
            mean[title], peak[title] = figures
    return TelemetrySummary(mean=mean, max=peak)


def throttled(summary: TelemetrySummary) -> tuple[float | None, str]:
    """The share of the time in which the worst GPU was slowed down for heat or power supply, and for which
    reason most of it; None without a GPU. A software power cap is normal under load."""
    shares = {name: value for name, value in summary.mean.items() if name.endswith(SLOWED)}
    if not shares:
        return None, ""
    worst = max(shares, key=lambda name: shares[name])
    return shares[worst], worst.replace(".throttle_", " ") if shares[worst] else ""


def _by_name(samples: Sequence[Sample]) -> dict[str, Series]:
    times: dict[str, list[int]] = defaultdict(list)
    values: dict[str, list[float]] = defaultdict(list)
    for sample in sorted(samples, key=lambda s: s.t_ns):
        for name, value in sample.values.items():
            times[name].append(sample.t_ns)
            values[name].append(value)
    return {name: (np.asarray(times[name], float), np.asarray(values[name])) for name in sorted(times)}


def _level(series: Series, from_ns: int, to_ns: int) -> tuple[float, float] | None:
    times, values = series
    inside = values[(times >= from_ns) & (times <= to_ns)]
    return (float(inside.mean()), float(inside.max())) if len(inside) else None


def _rate(series: Series, from_ns: int, to_ns: int) -> tuple[float, float] | None:
    """The mean rate per second and the highest between two samples.

    A fall is no negative use: a process that ended took its seconds out of the sum, or an engine began
    to count anew.
    """
    times, grown = series[0], np.concatenate(([0.0], np.cumsum(np.maximum(np.diff(series[1]), 0))))
    edges = np.clip(np.array([from_ns, to_ns], float), times[0], times[-1])
    inside = times[(times > edges[0]) & (times < edges[1])]
    moments = np.concatenate((edges[:1], inside, edges[1:]))
    if moments[-1] <= moments[0]:
        return None
    growth = np.interp(moments, times, grown)
    mean = (growth[-1] - growth[0]) / (moments[-1] - moments[0]) * 1e9
    return float(mean), float((np.diff(growth) / np.diff(moments)).max() * 1e9)
