"""Settings of every test: hypothesis draws the same cases on every machine, and no clock judges it."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile(
    "levelbench", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("levelbench")
