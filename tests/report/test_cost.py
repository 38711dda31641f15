"""Energy, money and the memory's limit, worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest

from backends.contract import Accelerator
from orchestrator.catalog.gpus import memories
from orchestrator.domain.result import Result
from orchestrator.report.cost import Price, cost, price, weights
from tests.report.made import GPU, GPU_MEANS, cell, load, result

NAME = "NVIDIA A100-SXM4-80GB"


def on_gpus(*names: str, **means: float) -> Result:
    """100 tok/s, a step of 10 ms, on these GPUs."""
    one = result(cell(accelerator=Accelerator.CUDA), load(1, ttft_s=0.01, gap_s=0.01, tokens=99))
    assert one.metrics
    assert one.provenance
    host = one.provenance.host.model_copy(
        update={"gpus": tuple(GPU.model_copy(update={"name": name}) for name in names)}
    )
    metrics = one.metrics.model_copy(update={"tokens_per_s": 100.0})
    watched = {f"gpu{i}.power_w": 150.0 for i in range(len(names))} | means
    return one.model_copy(
        update={
            "metrics": metrics,
            "telemetry": one.telemetry.model_copy(update={"mean": watched}),
            "provenance": one.provenance.model_copy(update={"host": host}),
        }
    )


def test_energy_and_money_per_token() -> None:
    """Two GPUs of 150 W make 3 J of each of 100 tokens/s; at 1.80 an hour each a million costs 10."""
    found = cost(on_gpus(NAME, NAME), {}, Price(1.8, "EUR"))

    assert 3.0 == found.joules_per_token
    assert 10.0 == pytest.approx(found.price_per_million)


def test_distance_to_the_memorys_limit() -> None:
    """100 steps/s of 2.039 GB are a tenth of what an A100's 2,039 GB/s can move; of two, a twentieth."""
    of = {"small": 2_039_000_000}

    assert 0.1 == pytest.approx(cost(on_gpus(NAME), of, None).bandwidth_share)
    assert 0.05 == pytest.approx(cost(on_gpus(NAME, NAME), of, None).bandwidth_share)
    assert 100 == pytest.approx(cost(on_gpus(NAME), of, None).steps_per_s)


@pytest.mark.parametrize(
    ("one", "of", "reason"),
    [
        (
            on_gpus("NVIDIA Imaginary"),
            {"small": 1},
            "the memory bandwidth of NVIDIA Imaginary is not in catalog",
        ),
        (on_gpus(NAME), {}, "nobody knows the size of small's weights"),
        (on_gpus(NAME, **{"gpu1.power_w": 1.0}), {"small": 1}, "provenance does not name gpu1"),
        (on_gpus(), {"small": 1}, "no GPU was seen by telemetry"),
        (
            result(cell(), load(1, ttft_s=0.01, gap_s=0.01, tokens=9)),
            {"small": 1},
            "the engine ran on the CPU",
        ),
    ],
)
def test_what_cannot_be_told_has_a_reason(one: Result, of: dict[str, int], reason: str) -> None:
    """Never a guess, never a silent gap."""
    found = cost(one, of, None)

    assert None is found.bandwidth_share
    assert found.unknown[0].startswith(reason)


def test_no_price_no_cost() -> None:
    assert None is cost(on_gpus(NAME), {}, None).price_per_million


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1.89", Price(1.89)),
        ("2 EUR", Price(2, "EUR")),
        ("$1.5", Price(1.5, "$")),
        ("free", None),
        ("-1", None),
        ("0", None),
        ("1.2.3", None),
    ],
)
def test_a_price_is_a_number_with_or_without_a_currency(text: str, expected: Price | None) -> None:
    assert expected == price(text)


PLANS: list[tuple[dict[str, Any], dict[str, int]]] = [
    ({}, {}),
    ({"groups": [{"model": {"id": "a", "weights_bytes": 7, "served_bytes": None}}]}, {"a": 7}),
    ({"groups": [{"model": {"id": "a", "weights_bytes": 7, "served_bytes": 3}}]}, {"a": 3}),
    ({"groups": [{"engine": "of an endpoint"}]}, {}),
]


@pytest.mark.parametrize(("plan", "expected"), PLANS)
def test_weights_are_what_lies_in_the_engines_memory(plan: dict[str, Any], expected: dict[str, int]) -> None:
    """Where the engine compresses them itself, they are smaller than on disk."""
    assert expected == weights(plan)


def test_every_gpu_of_the_catalogue_has_a_source() -> None:
    assert all(m.source and 1e11 < m.bandwidth_bytes_per_s < 1e13 for m in memories().values())
    assert GPU_MEANS
