"""Settings of every test: hypothesis draws the same cases on every machine, and no clock judges it; what
needs real parts is skipped, with the command that runs it, unless it was asked for by mark. And the runtimes
under test, each with an image and a teardown."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

import pynvml
import pytest
from hypothesis import HealthCheck, settings
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from orchestrator.host import locks
from tests.fakes import nvml
from tests.fakes.nvml import Stub
from tests.runtime import made

REAL_PARTS = {
    "gpu": "needs an NVIDIA GPU: make test MARK=gpu",
    "docker": "needs a Docker daemon and a base image: make test MARK=docker",
    "tools": "installs and runs every quantiser: make test MARK=tools",
    "night": "runs and kills whole nights, which takes minutes: make test MARK=night",
    "browser": "looks at pages in a real Chromium: make test MARK=browser",
    "slurm": "starts a real Slurm, and needs slurm-wlm and munge: make test MARK=slurm",
    "engine": "installs and drives a real engine: make test MARK=engine",
}

REAPING = {
    "test_process.py",
    "test_contract.py",
    "test_causes.py",
    "test_steps.py",
    "test_invocation.py",
    "test_end_to_end.py",
    "test_cli.py",
    "test_reproduce_real.py",
    "test_cli_nights.py",
    "test_crashes.py",
    "test_nights.py",
    "test_handing.py",
    "test_sixty_cells.py",
    "test_docs.py",
}

DOCKER = pytest.param("docker", marks=pytest.mark.docker)

settings.register_profile(
    "levelbench", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("levelbench")


class OneAfterTheOther(LoadScopeScheduling):  # type: ignore[misc]
    """Tests that end what dead runs left are all one process's: each would find what another has just left for itself
    to find. (`--dist loadgroup` of pytest-xdist 3.8 does not group under pytest 9.2.)"""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0].rpartition("/")[2]
        return "reaping" if file in REAPING else nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer | None) -> LoadScopeScheduling:
    return OneAfterTheOther(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Without a mark expression the suite is fast and hermetic."""
    if config.option.markexpr:
        return
    for item in items:
        for mark, reason in REAL_PARTS.items():
            if item.get_closest_marker(mark) is not None:
                item.add_marker(pytest.mark.skip(reason=reason))
                break


@pytest.fixture(scope="session", autouse=True)
def own_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A lock of its own stands for the host, here and in programs that tests start: test runs side by side do not
    keep each other off."""
    place = tmp_path_factory.mktemp("lock")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(locks, "PLACES", (place,))
        patch.setenv("LEVELBENCH_LOCK", str(place / locks.HOST))
        yield


@pytest.fixture(scope="session")
def nvml_library_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if nvml.compiler() is None:
        pytest.skip("no C compiler here to make the NVML stub")
    return nvml.build(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def nvml_stub(nvml_library_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stub:
    """The stub as the library that pynvml has loaded in this process; one healthy GPU until scripted."""
    stub = Stub(nvml_library_path, tmp_path / "nvml-script")
    stub.script()
    monkeypatch.setenv(nvml.SCRIPT_VARIABLE, str(stub.script_path))
    monkeypatch.setattr(pynvml, "nvmlLib", ctypes.CDLL(str(nvml_library_path)))
    monkeypatch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})
    return stub


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where real engines are installed, once for all tests."""
    return Path(os.environ.get("LEVELBENCH_TEST_CACHE") or tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def venv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("venv") / "stub-venv"
    made.empty_venv(folder)
    return folder


@pytest.fixture(params=["fake", "process", DOCKER])
def bench(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, venv: Path
) -> Iterator[made.Bench]:
    """Any of the three implementations."""
    yield from _opened(str(request.param), tmp_path, monkeypatch, venv)


@pytest.fixture(params=["process", DOCKER])
def real_bench(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, venv: Path
) -> Iterator[made.Bench]:
    """Those that run a program."""
    yield from _opened(str(request.param), tmp_path, monkeypatch, venv)


@pytest.fixture
def process_bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, venv: Path) -> Iterator[made.Bench]:
    yield from _opened("process", tmp_path, monkeypatch, venv)


@pytest.fixture
def docker_bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, venv: Path) -> Iterator[made.Bench]:
    yield from _opened("docker", tmp_path, monkeypatch, venv)


def _opened(kind: str, folder: Path, monkeypatch: pytest.MonkeyPatch, venv: Path) -> Iterator[made.Bench]:
    if kind == "process":
        bench = made.process(folder, monkeypatch, venv)
    else:
        bench = made.docker(folder) if kind == "docker" else made.fake(folder)
    try:
        yield bench
    finally:
        bench.close()
