"""Samples -> series, and what a series was between two moments. Pure; what each series means: docs/telemetry.md."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from orchestrator.domain.telemetry import Sample

Floats = npt.NDArray[np.float64]
Series = tuple[Floats, Floats]  # nanoseconds, rising; and values


class Reading(NamedTuple):
    """Of one series over a stretch of time."""

    mean: float
    max: float


def by_name(samples: Sequence[Sample]) -> dict[str, Series]:
    """Every series in time, in the order of their names."""
    times: dict[str, list[int]] = defaultdict(list)
    values: dict[str, list[float]] = defaultdict(list)
    for sample in sorted(samples, key=lambda s: s.t_ns):
        for name, value in sample.values.items():
            times[name].append(sample.t_ns)
            values[name].append(value)
    return {name: (np.asarray(times[name], float), np.asarray(values[name])) for name in sorted(times)}


def level(series: Series, from_ns: float, to_ns: float) -> Reading | None:
    """Of the samples from one moment to another; None where there is none."""
    times, values = series
    begin, end = np.searchsorted(times, from_ns, "left"), np.searchsorted(times, to_ns, "right")
    inside = values[begin:end]
    return Reading(float(inside.mean()), float(inside.max())) if len(inside) else None


def rate(series: Series, from_ns: float, to_ns: float) -> Reading | None:
    """A growing series' mean rate per second and the highest between two samples, over the part that was sampled.

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
    return Reading(float(mean), float((np.diff(growth) / np.diff(moments)).max() * 1e9))
