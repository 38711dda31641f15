"""A run's figures in the formats that dashboards read: Bencher's BMF and Prometheus text. Pure.

Seconds and bytes, as everywhere. Figures of invalid cells are in neither; those of suspect ones never lose their
mark: it is part of the benchmark's name in BMF, a label in Prometheus.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from orchestrator.domain.distribution import PERCENTILES
from orchestrator.domain.intervals import Bounds
from orchestrator.domain.metrics import Metrics
from orchestrator.domain.reasons import Level
from orchestrator.domain.result import Result
from orchestrator.report.figures import gpu_power_w, level
from orchestrator.report.headline import verdict
from orchestrator.report.records import RunRecord

Measure = dict[str, float]
LABELS = (
    "backend",
    "release",
    "version",
    "model",
    "profile",
    "workload",
    "users",
    "arrivals",
    "rate_per_s",
    "system_prompt",
    "method",
    "verdict",
)


def bmf(run: RunRecord) -> str:
    """Bencher Metric Format: a benchmark per cell, a measure per figure, with bounds where there are any."""
    found = {_benchmark(r): _measures(r, m) for r, m in _measured(run)}
    return json.dumps(found, indent=2, sort_keys=True) + "\n"


def prometheus(run: RunRecord) -> str:
    """Text exposition format, for node_exporter's textfile collector: a gauge per figure, no timestamps."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Run(run))
    return generate_latest(registry).decode()


class _Run(Collector):
    """A run as Prometheus' own library wants to be handed metrics."""

    def __init__(self, run: RunRecord) -> None:
        self._run = run

    def collect(self) -> Iterable[Metric]:
        yield from _families(self._run)


def _measured(run: RunRecord) -> Iterator[tuple[Result, Metrics]]:
    for stored in run.cells:
        r = stored.result
        if r is not None and r.metrics is not None and level(r) is not Level.INVALID:
            yield r, r.metrics


def _benchmark(r: Result) -> str:
    suspect = " (suspect)" if level(r) is Level.SUSPECT else ""
    return f"{r.cell.id}/{r.cell.group.workload.id}/METHOD {r.method}{suspect}"


def _measures(r: Result, m: Metrics) -> dict[str, Measure]:
    watts = gpu_power_w(r)
    percentiles = {
        f"ttft_p{q}_s": (m.ttft_s.percentile(q), getattr(m.ttft_s_bounds, f"p{q}")) for q in PERCENTILES
    }
    figures: dict[str, tuple[float | None, Bounds | None]] = {
        "tokens_per_s": (m.tokens_per_s, m.tokens_per_s_bounds),
        "ttft_mean_s": (m.ttft_s.mean, m.ttft_s_bounds.mean),
        **percentiles,
        "itl_p50_s": (m.itl_s.p50, None),
        "itl_p95_s": (m.itl_s.p95, None),
        "latency_p50_s": (m.latency_s.p50, None),
        "latency_p95_s": (m.latency_s.p95, None),
        "requests_per_s": (m.requests_per_s, None),
        "goodput_per_s": (m.goodput_per_s, None),
        "error_share": (m.error_share, None),
        "joules_per_token": (watts / m.tokens_per_s if watts is not None and m.tokens_per_s else None, None),
    }
    return {name: _measure(value, of) for name, (value, of) in figures.items() if value is not None}


def _measure(value: float, of: Bounds | None) -> Measure:
    bounds = {"lower_value": of.low, "upper_value": of.high} if of is not None else {}
    return {"value": value, **bounds}


def _families(run: RunRecord) -> Iterator[Metric]:
    about = GaugeMetricFamily("levelbench_run_info", "The run that these figures are of.", labels=["run"])
    about.add_metric([run.id], 1)
    yield about
    yield _states(run)
    families: dict[str, GaugeMetricFamily] = {}
    for r, m in _measured(run):
        for name, measure in _measures(r, m).items():
            for end, value in measure.items():
                title = f"levelbench_{name}" + {"lower_value": "_low", "upper_value": "_high"}.get(end, "")
                family = families.setdefault(
                    title, GaugeMetricFamily(title, "See docs/metrics.md of levelbench.", labels=LABELS)
                )
                family.add_metric(_labels(r), value)
    yield from families.values()


def _states(run: RunRecord) -> Metric:
    """Every cell of the plan, also those without figures: an alert can see what is missing."""
    family = GaugeMetricFamily(
        "levelbench_cell", "1 for each cell of the run, by how it ended.", labels=["cell", "state"]
    )
    for stored in run.cells:
        family.add_metric([stored.cell_id, verdict(stored)], 1)
    return family


def _labels(r: Result) -> list[str]:
    group, load = r.cell.group, r.cell.load
    return [
        group.backend,
        group.release,
        group.version,
        group.model,
        group.profile.value if group.profile else "",
        group.workload.id,
        "" if load.arrivals else str(load.users),
        load.arrivals.value if load.arrivals else "",
        "" if load.rate_per_s is None else f"{load.rate_per_s:g}",
        load.system_prompt.value,
        str(r.method),
        level(r).value,
    ]
