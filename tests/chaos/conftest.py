"""One image, one cache folder and one stub of the driver for all of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.domain.provenance import Image
from orchestrator.errors import HostError
from orchestrator.runtime.daemon import Daemon
from tests.chaos import night
from tests.chaos.night import Happening, Night
from tests.runtime.made import BASE, DOCKER_REQUIRED, base_image_here

Nights = Callable[[Path], Night]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Real parts, one after the other, and never within seconds on a host that is busy."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.docker)
            item.add_marker(pytest.mark.timeout(400))


@pytest.fixture(scope="session")
def chaos_image() -> Image:
    try:
        client = Daemon().client()
    except HostError as error:
        if DOCKER_REQUIRED:
            raise
        pytest.skip(f"{error} ({error.hint})")
    try:
        if not DOCKER_REQUIRED and not base_image_here():
            pytest.skip(f"no base image {BASE}")
        return night.build(client)
    finally:
        client.close()


@pytest.fixture(scope="session")
def nights(chaos_image: Image, nvml_library_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Nights:
    """A night for a folder; all share what is made once."""
    cache_dir = tmp_path_factory.mktemp("chaos-cache")
    return lambda folder: Night(folder, chaos_image, cache_dir, nvml_library_path)


@pytest.fixture
def the_night(nights: Nights, tmp_path: Path) -> Night:
    return nights(tmp_path)


@pytest.fixture(scope="session")
def half_night(nights: Nights, tmp_path_factory: pytest.TempPathFactory) -> Night:
    """Two engines, two loads: the first engine is done, then the orchestrator was killed. To be copied."""
    found = nights(tmp_path_factory.mktemp("half"))
    found.write(night.HEALTHY, users=(1, 2))
    found.killed(Happening(event="group-ended"))
    return found


@pytest.fixture
def cut_night(half_night: Night, nights: Nights, tmp_path: Path) -> Night:
    """A night of one's own that was killed between its two engines."""
    shutil.copytree(half_night.folder, tmp_path, symlinks=True, dirs_exist_ok=True)
    return nights(tmp_path)
