"""Settings of every test: hypothesis draws the same cases on every machine, and no clock judges it; what
needs real parts is skipped, with the command that runs it, unless it was asked for by mark."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

REAL_PARTS = {
    "gpu": "needs an NVIDIA GPU: make test MARK=gpu",
    "docker": "needs a Docker daemon and a base image: make test MARK=docker",
    "engine": "installs and drives a real engine: make test MARK=engine",
}

settings.register_profile(
    "levelbench", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("levelbench")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Without a mark expression the suite is fast and hermetic."""
    if config.option.markexpr:
        return
    for item in items:
        for mark, reason in REAL_PARTS.items():
            if item.get_closest_marker(mark) is not None:
                item.add_marker(pytest.mark.skip(reason=reason))
                break


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where real engines are installed, once for all tests."""
    return Path(os.environ.get("LEVELBENCH_TEST_CACHE") or tmp_path_factory.mktemp("cache"))
