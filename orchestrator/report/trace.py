"""A cell's raw records -> what its charts show: the machine window by window, and latencies as curves. Pure.

The windows are those of the result. Their time counts from the start of the ramp, which the result knows; of one that
does not, it is when the first request was sent, or was meant to be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from orchestrator.domain.distribution import MIN_SAMPLES
from orchestrator.domain.exchange import UNSTAMPED, Exchange
from orchestrator.domain.metrics import BUNDLE_TOKENS, Metrics
from orchestrator.domain.readings import Reading, Series, by_name, level, rate
from orchestrator.domain.table import NEVER, Part, Table, table
from orchestrator.domain.telemetry import Sample
from orchestrator.domain.windows import Span

Floats = npt.NDArray[np.float64]
Curve = tuple[tuple[float, float], ...]

GPU_UTILISATION = "gpu_utilisation_percent"
GPU_POWER = "gpu_power_w"
GPU_CLOCK = "gpu_sm_clock_mhz"
CPU_CORES = "engine_cpu_cores"
RUNNING = "engine_running"
WAITING = "engine_waiting"
KV_USE = "engine_kv_use"
CLIENT_LAG = "client_lag_s"
CLIENT_CPU = "client_cpu_cores"

CURVES = ("ttft_s", "itl_s", "latency_s")
SHARES = (0.01, *(i / 40 for i in range(1, 40)), 0.98, 0.99, 0.995, 0.999)
# Being idle, and clocks that somebody has set, slow nothing down.
HARMLESS = {"gpu_idle", "applications_clocks", "sync_boost", "display_clocks"}
THROTTLE = "throttle_"


@dataclass(frozen=True, slots=True)
class Trace:
    """`series` has a value per window of the result, None where nobody looked. `throttled` names why GPUs were
    slowed down in each. `curves` are pairs (share of the requests or tokens, seconds) over the steady window;
    `counts` say of how many samples."""

    series: dict[str, tuple[float | None, ...]] = field(default_factory=dict)
    throttled: tuple[tuple[str, ...], ...] = ()
    curves: dict[str, Curve] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)


EMPTY = Trace()


def trace(
    exchanges: Sequence[Exchange], samples: Sequence[Sample], metrics: Metrics, span: Span | None = None
) -> Trace:
    """What a cell's charts are made from."""
    if not exchanges or not metrics.windows:
        return EMPTY
    start_ns = span.start_ns if span else min(x.scheduled_ns or x.send_ns for x in exchanges)
    edges = start_ns + _edges_s(metrics) * 1e9
    values = by_name(samples)
    columns = table(exchanges, start_ns)
    found = _machine(values, edges) | {CLIENT_LAG: _lag(exchanges, edges)}
    steady = Part(
        round(metrics.steady_start_s * 1e9), round((metrics.steady_start_s + metrics.steady_length_s) * 1e9)
    )
    samples_of = _latencies(columns, steady)
    return Trace(
        series={name: line for name, line in found.items() if any(v is not None for v in line)},
        throttled=_throttled(values, edges),
        curves={name: _curve(*of) for name, of in samples_of.items() if len(of[0])},
        counts={name: len(of[0]) for name, of in samples_of.items()},
    )


def _edges_s(metrics: Metrics) -> Floats:
    last = metrics.windows[-1]
    return np.array([*(w.start_s for w in metrics.windows), last.start_s + last.length_s])


def _machine(values: dict[str, Series], edges: Floats) -> dict[str, tuple[float | None, ...]]:
    """Of several GPUs the mean utilisation, the sum of the power, the lowest clock."""
    return {
        GPU_UTILISATION: _over_gpus(values, "utilisation_percent", edges, np.mean),
        GPU_POWER: _over_gpus(values, "power_w", edges, np.sum),
        GPU_CLOCK: _over_gpus(values, "sm_clock_mhz", edges, np.min),
        RUNNING: _each(values.get("metrics.running"), edges, level),
        WAITING: _each(values.get("metrics.waiting"), edges, level),
        KV_USE: _each(values.get("metrics.kv_use"), edges, level),
        CPU_CORES: _each(values.get("engine.cpu_s"), edges, rate),
        CLIENT_CPU: _each(values.get("client.cpu_s"), edges, rate),
    }


def _over_gpus(
    values: dict[str, Series], name: str, edges: Floats, fold: Callable[[Floats], np.floating]
) -> tuple[float | None, ...]:
    each = [_each(of, edges, level) for series, of in values.items() if _is_gpu(series, name)]
    columns = [[v for v in column if v is not None] for column in zip(*each, strict=True)]
    return tuple(float(fold(np.array(column))) if column else None for column in columns)


def _is_gpu(series: str, name: str) -> bool:
    return series.startswith("gpu") and series.partition(".")[2] == name


def _each(
    series: Series | None, edges: Floats, read: Callable[[Series, float, float], Reading | None]
) -> tuple[float | None, ...]:
    """The mean in each window."""
    found = [None if series is None else read(series, a, b) for a, b in pairwise(edges.tolist())]
    return tuple(None if one is None else one.mean for one in found)


def _throttled(values: dict[str, Series], edges: Floats) -> tuple[tuple[str, ...], ...]:
    held: list[set[str]] = [set() for _ in edges[1:]]
    for name, (times, flags) in values.items():
        reason = name.partition(f".{THROTTLE}")[2]
        if not reason or reason == "mask" or reason in HARMLESS:
            continue
        for i, (a, b) in enumerate(_slices(times, edges)):
            if flags[a:b].any():
                held[i].add(reason)
    return tuple(tuple(sorted(reasons)) for reasons in held)


def _lag(exchanges: Sequence[Exchange], edges: Floats) -> tuple[float | None, ...]:
    """The longest time in each window that the client took to see what the kernel had stamped."""
    moments = np.concatenate([x.event_ns for x in exchanges])
    lags = np.concatenate([x.event_lag_ns for x in exchanges])
    if len(lags) != len(moments):
        return (None,) * (len(edges) - 1)
    known = lags != UNSTAMPED
    order = np.argsort(moments[known])
    times, values = moments[known][order].astype(float), lags[known][order] / 1e9
    return tuple(float(values[a:b].max()) if b > a else None for a, b in _slices(times, edges))


def _slices(times: Floats, edges: Floats) -> list[tuple[int, int]]:
    at = np.searchsorted(times, edges).tolist()
    return list(pairwise(at))


def _latencies(columns: Table, steady: Part) -> dict[str, tuple[Floats, Floats]]:
    """Values and how much each weighs: as in the result's figures (docs/metrics.md)."""
    first = steady.holds(columns.first) & (columns.first != NEVER)
    ended = steady.holds(columns.end) & columns.ok
    gap = steady.holds(columns.event) & ~np.isnan(columns.gap_s)
    weight = columns.weight[gap]
    tokens = np.where(weight >= BUNDLE_TOKENS, weight, 1.0)
    ttft_s = columns.ttft_s(first)
    latency_s = (columns.end[ended] - columns.send[ended]) / 1e9
    return {
        "ttft_s": (ttft_s, np.ones(len(ttft_s))),
        "itl_s": (columns.gap_s[gap] / tokens, tokens),
        "latency_s": (latency_s, np.ones(len(latency_s))),
    }


def _curve(values: Floats, weights: Floats) -> Curve:
    """The share that took at most so long. It ends at the last percentile that so many samples can tell."""
    order = np.argsort(values)
    reached = np.cumsum(weights[order]) / weights.sum()
    at = np.minimum(np.searchsorted(reached, _shares(len(values))), len(values) - 1)
    return tuple(zip(_shares(len(values)), values[order][at].tolist(), strict=True))


def _shares(n: int) -> tuple[float, ...]:
    told: Iterable[float] = (q / 100 for q, needed in MIN_SAMPLES.items() if n >= needed)
    last = max(told, default=0.0)
    return tuple(share for share in SHARES if share <= last)
