"""The measurement behind the figures of docs/telemetry.md."""

from __future__ import annotations

from tests.host.tick_cost import measure


def test_a_tick_costs_little_of_a_core() -> None:
    """Every source is measured, and none costs more than a twentieth of a core at one reading a second."""
    costs = measure(readings=3)

    assert set(costs) == {"host", "client", "engine", "metrics", "(whole page parsed)"}
    assert all(0 < cost_ms < 50 for cost_ms in costs.values())
