"""Raw records become what charts show: the machine window by window, latencies as curves."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from orchestrator.domain.exchange import Exchange
from orchestrator.domain.metrics import Asked, Metrics, summarise
from orchestrator.domain.telemetry import Sample
from orchestrator.domain.windows import Span
from orchestrator.report import trace
from tests.domain.made import exchange, ns, span
from tests.report.made import load


def metrics(exchanges: list[Exchange]) -> Metrics:
    return summarise(exchanges, span(steady_s=5, end_s=25), window_s=5, asked=Asked(users=1))


EXCHANGES = load(16, ttft_s=0.05, gap_s=0.01, tokens=40)
METRICS = metrics(EXCHANGES)


def samples(name: str, *values: float, source: str = "gpu") -> list[Sample]:
    """One every five seconds, in the middle of each window."""
    return [Sample(ns(2.5 + 5 * i), source, {name: value}) for i, value in enumerate(values)]


def series(name: str, *of: Sample) -> tuple[float | None, ...] | None:
    return trace.trace(EXCHANGES, of, METRICS).series.get(name)


def test_a_level_is_the_mean_of_its_readings_in_each_window() -> None:
    """A window in which nobody looked has no value; it is never 0."""
    two = Sample(ns(3), "gpu", {"gpu0.utilisation_percent": 30.0})

    assert (20.0, 50.0, None, 70.0, None) == series(
        trace.GPU_UTILISATION,
        Sample(ns(1), "gpu", {"gpu0.utilisation_percent": 10.0}),
        two,
        Sample(ns(7), "gpu", {"gpu0.utilisation_percent": 50.0}),
        Sample(ns(17), "gpu", {"gpu0.utilisation_percent": 70.0}),
    )


def test_several_gpus_are_folded_each_in_its_way() -> None:
    """Utilisation is a mean, power a sum, the clock the lowest: one throttled GPU holds all up."""
    values = {f"gpu{i}.{name}": value * (i + 1) for i in (0, 1) for name, value in GPU.items()}
    found = trace.trace(EXCHANGES, [Sample(ns(1), "gpu", values)], METRICS).series

    assert 30.0 == found[trace.GPU_UTILISATION][0]
    assert 900.0 == found[trace.GPU_POWER][0]
    assert 1000.0 == found[trace.GPU_CLOCK][0]


GPU = {"utilisation_percent": 20.0, "power_w": 300.0, "sm_clock_mhz": 1000.0}


def test_a_counter_becomes_a_rate_and_never_a_negative_one() -> None:
    """CPU seconds per second; a process that ended takes its seconds out of the sum."""
    counted = [Sample(ns(t), "engine", {"engine.cpu_s": v}) for t, v in ((0, 0), (5, 10), (10, 4), (15, 9))]

    assert (2.0, 0.0, 1.0, None, None) == series(trace.CPU_CORES, *counted)


def test_throttling_is_named_and_idling_is_none() -> None:
    """The reasons that slow a GPU down, in the window in which they held."""
    hot = {"gpu0.throttle_hw_thermal": 1.0, "gpu0.throttle_gpu_idle": 1.0, "gpu0.throttle_mask": 65.0}
    found = trace.trace(EXCHANGES, [Sample(ns(7), "gpu", hot)], METRICS)

    assert ((), ("hw_thermal",), (), (), ()) == found.throttled


def test_the_clients_lag_is_its_longest_in_each_window() -> None:
    """Events that the kernel did not stamp have none."""
    one = exchange(0, [1.0, 2.0, 12.0])
    lagging = dataclasses.replace(one, event_lag_ns=np.array([2_000_000, 5_000_000, -1], np.int64))
    found = trace.trace([lagging], [], metrics([lagging]))

    assert (0.005, None, None, None, None) == found.series[trace.CLIENT_LAG]


@pytest.mark.parametrize("name", trace.CURVES)
def test_curves_say_what_the_figures_say(name: str) -> None:
    """The median on a curve is the median of the result."""
    curve = dict(trace.trace(EXCHANGES, [], METRICS).curves[name])

    assert getattr(METRICS, name).p50 == pytest.approx(curve[0.5], rel=0.05)


def test_a_curve_ends_at_the_last_percentile_that_can_be_told() -> None:
    """As in the tables: p95 takes 130 samples, p99 662."""
    found = trace.trace(EXCHANGES, [], METRICS)
    n = found.counts["ttft_s"]

    assert n >= 662
    assert 0.99 == found.curves["ttft_s"][-1][0]
    few = load(1, ttft_s=0.05, gap_s=0.01, tokens=40)
    assert 0.5 == trace.trace(few, [], metrics(few)).curves["ttft_s"][-1][0]


def test_a_cell_without_requests_has_no_trace() -> None:
    assert trace.trace([], samples("gpu0.power_w", 1.0), METRICS) == trace.EMPTY


def test_time_counts_from_the_start_of_the_ramp() -> None:
    """Which the result knows: the first request may have come later than that."""
    late = load(16, ttft_s=0.05, gap_s=0.01, tokens=40)
    power = Sample(ns(4.9), "gpu", {"gpu0.power_w": 300.0})
    early = Span(start_ns=ns(-0.5), steady_ns=ns(5), end_ns=ns(25))

    assert 300.0 == trace.trace(late, [power], METRICS).series[trace.GPU_POWER][0]
    assert 300.0 == trace.trace(late, [power], METRICS, early).series[trace.GPU_POWER][1]
