"""Student's t against printed tables."""

from __future__ import annotations

from math import inf, pi

import pytest

from orchestrator.domain import student


@pytest.mark.parametrize(
    ("p", "freedom", "t"),
    [  # the usual printed table
        (0.95, 1, 6.314),
        (0.975, 1, 12.706),
        (0.95, 2, 2.920),
        (0.975, 4, 2.776),
        (0.95, 10, 1.812),
        (0.99, 10, 2.764),
        (0.975, 30, 2.042),
        (0.995, 120, 2.617),
        (0.975, 1e6, 1.960),
    ],
)
def test_quantiles_are_those_of_the_table(p: float, freedom: float, t: float) -> None:
    """To its last digit, on both sides."""
    assert t == pytest.approx(student.quantile(p, freedom), abs=5e-4)
    assert -t == pytest.approx(student.quantile(1 - p, freedom), abs=5e-4)
    assert p == pytest.approx(student.below(student.quantile(p, freedom), freedom), abs=1e-9)


def test_one_degree_is_cauchy() -> None:
    """Whose probabilities are known in closed form."""
    assert 0.75 == pytest.approx(student.below(1.0, 1), abs=1e-12)
    assert 1 / (1000 * pi) == pytest.approx(student.above(1000.0, 1), rel=1e-4)


def test_ends_are_certain() -> None:
    """Also infinity, which a difference without any spread gives."""
    assert (0.0, 0.5, 1.0) == (student.below(-inf, 3), student.below(0, 3), student.below(inf, 3))
    assert 0 < student.above(60.0, 20) < 1e-20
