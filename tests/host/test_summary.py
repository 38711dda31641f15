"""orchestrator/host/summary.py: samples to means, maxima and rates."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.telemetry import Sample
from orchestrator.host.summary import summarise, throttled

SECOND = 1_000_000_000


def series(name: str, *points: tuple[float, float]) -> list[Sample]:
    """Samples of one series from (seconds, value) pairs."""
    return [Sample(round(t * SECOND), "source", {name: value}) for t, value in points]


def between(samples: list[Sample], from_s: float, to_s: float) -> tuple[dict[str, float], dict[str, float]]:
    summary = summarise(samples, round(from_s * SECOND), round(to_s * SECOND))
    return summary.mean, summary.max


def test_a_level_has_mean_and_maximum() -> None:
    """Only samples inside the window count."""
    samples = series("gpu0.power_w", (0, 900), (1, 100), (2, 300), (3, 900))

    assert between(samples, 0.5, 2.5) == ({"gpu0.power_w": 200}, {"gpu0.power_w": 300})


def test_a_series_without_samples_in_the_window_is_absent() -> None:
    """No sample means no figure, never 0."""
    assert between(series("gpu0.power_w", (0, 100)), 5, 10) == ({}, {})


def test_no_samples_give_an_empty_summary() -> None:
    """Nothing in, nothing out."""
    assert between([], 0, 10) == ({}, {})


def test_cpu_seconds_become_cores() -> None:
    """Two CPU seconds per second are two cores; the maximum is the busiest stretch between samples."""
    samples = series("engine.cpu_s", (0, 10), (1, 11), (2, 14), (3, 16))

    assert between(samples, 0, 3) == ({"engine.cpu_cores": 2}, {"engine.cpu_cores": 3})


def test_totals_become_rates() -> None:
    """A counter's name tells its rate's."""
    mean, _ = between(series("metrics.generated_tokens_total", (0, 0), (2, 500)), 0, 2)

    assert mean == {"metrics.generated_tokens_per_s": 250}


def test_a_rate_is_cut_at_the_windows_edges() -> None:
    """Growth between two samples is shared out evenly, so that an edge may lie between them."""
    samples = series("engine.cpu_s", (0, 0), (1, 0), (2, 4), (3, 4))

    mean, peak = between(samples, 1.5, 2.5)

    assert mean["engine.cpu_cores"] == pytest.approx(2)
    assert peak["engine.cpu_cores"] == pytest.approx(4)


def test_a_rate_needs_no_sample_inside_the_window() -> None:
    """A window between two samples has the rate between them."""
    mean, _ = between(series("engine.cpu_s", (0, 0), (10, 20)), 4, 6)

    assert mean["engine.cpu_cores"] == pytest.approx(2)


def test_a_rate_covers_what_was_sampled() -> None:
    """Where samples end before the window does, the rate is that of the part which they cover."""
    mean, _ = between(series("engine.cpu_s", (0, 0), (4, 8)), 2, 100)

    assert mean["engine.cpu_cores"] == pytest.approx(2)


def test_one_sample_has_no_rate() -> None:
    """Growth takes two samples."""
    assert between(series("engine.cpu_s", (1, 5)), 0, 10) == ({}, {})


def test_a_fall_is_not_negative_use() -> None:
    """A process that ends takes its seconds along; the others' growth still counts."""
    samples = series("engine.cpu_s", (0, 100), (1, 101), (2, 40), (3, 41))

    mean, _ = between(samples, 0, 3)

    assert mean["engine.cpu_cores"] == pytest.approx(2 / 3)


def test_a_mask_has_no_mean() -> None:
    """A bit mask is left to its flags, whose mean is a share of time."""
    samples = [
        Sample(i * SECOND, "gpu", {"gpu0.throttle_mask": 4.0 * i, "gpu0.throttle_sw_power_cap": i})
        for i in (0, 1)
    ]

    assert between(samples, 0, 1) == (
        {"gpu0.throttle_sw_power_cap": 0.5},
        {"gpu0.throttle_sw_power_cap": 1},
    )


def test_the_order_of_samples_does_not_matter() -> None:
    """Sources are read in parallel, so samples may come in any order."""
    samples = series("engine.cpu_s", (3, 6), (0, 0), (1, 2))

    assert between(samples, 0, 3)[0] == {"engine.cpu_cores": pytest.approx(2)}


@given(st.lists(st.floats(0, 1e6), min_size=2, max_size=30), st.floats(0, 40), st.floats(0.1, 40))
def test_a_rate_is_never_negative_nor_above_its_maximum(
    values: list[float], from_s: float, length_s: float
) -> None:
    """Whatever is sampled, 0 <= mean <= max."""
    samples = series("engine.cpu_s", *enumerate(values))

    mean, peak = between(samples, from_s, from_s + length_s)

    assert all(0 <= mean[name] <= peak[name] * (1 + 1e-9) + 1e-9 for name in mean)


def test_a_slowed_gpu_is_told_by_the_worst_of_them() -> None:
    """Heat and power brakes count, a software power cap is normal; without a GPU there is nothing to tell."""
    samples = [
        *series("gpu0.throttle_sw_power_cap", (1, 1), (2, 1)),
        *series("gpu0.throttle_hw_thermal", (1, 0), (2, 0)),
        *series("gpu1.throttle_sw_thermal", (1, 1), (2, 0)),
    ]

    assert (0.5, "gpu1 sw_thermal") == throttled(summarise(samples, 0, 3 * SECOND))
    assert (0.0, "") == throttled(summarise(samples[:4], 0, 3 * SECOND))
    assert (None, "") == throttled(summarise([], 0, 3 * SECOND))
