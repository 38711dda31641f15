"""Every kind of predicate, right at its bound: the whole interval decides, never the figure alone."""

from __future__ import annotations

from math import atanh, sqrt, tanh
from typing import Any

import pytest
from pydantic import TypeAdapter

from orchestrator.domain.claim import Address, Predicate
from orchestrator.domain.reading import Figure, Reading
from orchestrator.domain.ruling import Ruling, correlation_bounds, decide, inside, worst

PREDICATE: TypeAdapter[Predicate] = TypeAdapter(Predicate)
YES, NO, OPEN = Ruling.REPRODUCED, Ruling.NOT_REPRODUCED, Ruling.UNDECIDED
RATE, BUSY = Figure.TOKEN_RATE, Figure.GPU_BUSY


def at(text: str) -> Address:
    return Address.model_validate(text)


def reading(value: float, share: float = 0.01) -> Reading:
    return Reading(value, value / (1 + share), value * (1 + share), 20.0)


def ruled(test: dict[str, Any], **figures: Reading) -> Ruling:
    """Of cells `8b/BACKEND/u100`; `_` for `-`."""
    of = {at(f"8b/{name.replace('_', '-')}/u100"): one for name, one in figures.items()}
    return decide(PREDICATE.validate_python({"figure": "tokens_per_s", **test}), {RATE: of})[0]


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (90.0, 110.0, YES),
        (89.999, 110.0, OPEN),
        (90.0, 110.001, OPEN),
        (80.0, 90.0, OPEN),
        (80.0, 89.999, NO),
        (110.001, 120.0, NO),
        (50.0, 200.0, OPEN),
    ],
)
def test_value(low: float, high: float, expected: Ruling) -> None:
    """100, give or take 10 %: 90 to 110, ends included."""
    test = {"kind": "value", "cell": "8b/vllm/u100", "value": 100, "tolerance": 0.1}

    assert expected is ruled(test, vllm=Reading(100.0, low, high, 20.0))


@pytest.mark.parametrize(
    ("above", "below", "expected"),
    [
        (99.0, None, YES),
        (99.001, None, OPEN),
        (101.0, None, OPEN),
        (101.001, None, NO),
        (None, 101.0, YES),
        (None, 100.999, OPEN),
        (None, 98.999, NO),
        (99.0, 101.0, YES),
        (99.5, 101.0, OPEN),
        (1.0, 2.0, NO),
    ],
)
def test_threshold(above: float | None, below: float | None, expected: Ruling) -> None:
    """A figure of 99 to 101 against bounds."""
    test = {"kind": "threshold", "cell": "8b/vllm/u100", "above": above, "below": below}

    assert expected is ruled(test, vllm=Reading(100.0, 99.0, 101.0, 20.0))


def test_without_an_interval_nothing_is_decided() -> None:
    """An exact figure is its own interval."""
    assert OPEN is inside(Reading(100.0), 1.0, 1000.0)
    assert YES is inside(Reading(100.0, exact=True), 100.0, 100.0)
    assert NO is inside(Reading(100.0, exact=True), 100.1, None)


ORDER = {"kind": "order", "cell": "8b/vllm/u100", "among": ["lmdeploy", "tgi"]}


@pytest.mark.parametrize(
    ("best", "vllm", "lmdeploy", "tgi", "expected"),
    [
        ("highest", 110.0, 100.0, 90.0, YES),
        ("highest", 101.0, 100.0, 90.0, OPEN),
        ("highest", 100.0, 101.0, 90.0, OPEN),
        ("highest", 100.0, 110.0, 90.0, NO),
        ("lowest", 90.0, 100.0, 110.0, YES),
        ("lowest", 100.0, 101.0, 110.0, OPEN),
        ("lowest", 100.0, 90.0, 110.0, NO),
    ],
)
def test_order(best: str, vllm: float, lmdeploy: float, tgi: float, expected: Ruling) -> None:
    """First of three, each with 1 % to both sides: neighbours of 1 % cannot be told apart."""
    figures = {"vllm": reading(vllm), "lmdeploy": reading(lmdeploy), "tgi": reading(tgi)}

    assert expected is ruled({**ORDER, "best": best}, **figures)


@pytest.mark.parametrize(
    ("vllm", "expected"),
    [(120.0, YES), (105.0, YES), (90.5, OPEN), (90.0, OPEN), (89.5, OPEN), (80.0, NO)],
)
def test_one_of_the_first_two(vllm: float, expected: Ruling) -> None:
    """One rival may be ahead; two may not."""
    figures = {"vllm": reading(vllm), "lmdeploy": reading(110.0), "tgi": reading(90.0)}

    assert expected is ruled({**ORDER, "best": "highest", "places": 2}, **figures)


def test_order_finds_its_bound() -> None:
    """Just where two intervals of the ratio, each allowed half of 5 %, stop holding 1."""
    rulings = [
        ruled(
            {**ORDER, "best": "highest"},
            vllm=reading(100 + i / 100),
            lmdeploy=reading(100.0),
            tgi=reading(50.0),
        )
        for i in range(400)
    ]
    first = rulings.index(YES)

    assert {OPEN} == set(rulings[:first])
    assert {YES} == set(rulings[first:])
    assert 1.4 < first / 100 < 1.8


@pytest.mark.parametrize(
    ("direction", "values", "expected"),
    [
        ("grows", (1.0, 1.1, 1.2), YES),
        ("grows", (1.0, 1.1, 1.105), OPEN),
        ("grows", (1.0, 1.1, 1.05), NO),
        ("grows", (1.0, 1.005, 0.9), NO),
        ("falls", (1.2, 1.1, 1.0), YES),
        ("falls", (1.2, 1.1, 1.2), NO),
        ("falls", (1.2, 1.195, 1.0), OPEN),
    ],
)
def test_trend(direction: str, values: tuple[float, ...], expected: Ruling) -> None:
    """Every step must lead that way, surely."""
    cells = ["8b/vllm/u10", "8b/vllm/u50", "8b/vllm/u100"]
    test = {"kind": "trend", "figure": "tokens_per_s", "cells": cells, "direction": direction}
    of = {at(cell): reading(value) for cell, value in zip(cells, values, strict=True)}

    assert expected is decide(PREDICATE.validate_python(test), {RATE: of})[0]


@pytest.mark.parametrize(
    ("value", "bounds", "expected"),
    [
        (1.0, {"above": 0.98, "below": 1.02}, YES),
        (1.0, {"above": 0.99, "below": 1.01}, OPEN),
        (1.0, {"above": 0.98}, YES),
        (1.0, {"below": 1.0}, OPEN),
        (0.98, {"below": 1.0}, YES),
        (0.99, {"below": 1.0}, OPEN),
        (1.02, {"below": 1.0}, NO),
    ],
)
def test_ratio(value: float, bounds: dict[str, float], expected: Ruling) -> None:
    """Of two figures with 1 % to both sides, so that the ratio has 1.4 %."""
    test = {"kind": "ratio", "cell": "8b/vllm/u100", "to": "8b/tgi/u100", **bounds}

    assert expected is ruled(test, vllm=reading(100 * value), tgi=reading(100.0))


def correlated(noise: list[float], least: float) -> tuple[Ruling, str]:
    cells = [at(f"8b/vllm/u{n}") for n in range(1, len(noise) + 1)]
    other = {a: Reading(float(n), exact=True) for n, a in enumerate(cells)}
    of = {a: Reading(float(n) + x, exact=True) for (n, a), x in zip(enumerate(cells), noise, strict=True)}
    test = {
        "kind": "correlation",
        "figure": "tokens_per_s",
        "other": "gpu_busy_share",
        "cells": ["8b/vllm/*"],
    }
    return decide(PREDICATE.validate_python({**test, "least": least}), {RATE: of, BUSY: other})


def test_correlation() -> None:
    """Its interval by Fisher must lie above the bound; below it, it is none."""
    zigzag = [2.0 if n % 2 else -2.0 for n in range(12)]
    ruling, words = correlated(zigzag, 0.5)
    r = float(words.split()[2])
    low, high = correlation_bounds(r, 12)

    assert YES is ruling
    assert YES is correlated(zigzag, low - 0.002)[0]
    assert OPEN is correlated(zigzag, low + 0.002)[0]
    assert OPEN is correlated(zigzag, high - 0.002)[0]
    assert NO is correlated(zigzag, high + 0.002)[0]
    assert "over 12 cells" in words


def test_correlation_needs_cells_and_movement() -> None:
    """Four cells correlate with anything; a figure that never moves with nothing."""
    assert Ruling.NOT_MEASURED is correlated([0.0] * 4, 0.5)[0]
    assert YES is correlated([0.0] * 5, 0.99)[0]
    assert OPEN is correlated([-float(n) for n in range(6)], 0.5)[0]


def test_fisher_by_hand() -> None:
    """r = 0.6 over 28 cells: atanh of it, give or take 1.96 / 5."""
    low, high = correlation_bounds(0.6, 28)

    assert (tanh(atanh(0.6) - 1.96 / sqrt(25)), tanh(atanh(0.6) + 1.96 / sqrt(25))) == pytest.approx(
        (low, high), abs=1e-4
    )
    assert (1.0, 1.0) == correlation_bounds(1.0, 9)


def test_one_wrong_part_makes_the_whole_wrong() -> None:
    """Then what may not be compared, then what was not measured, then what is open."""
    order = [NO, Ruling.NOT_COMPARABLE, Ruling.NOT_MEASURED, OPEN, YES]

    for i, expected in enumerate(order):
        assert expected is worst(order[i:][::-1])
    assert Ruling.NOT_MEASURED is worst([])
