"""The runtimes under test, each with an image and a teardown."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.runtime import made

DOCKER = pytest.param("docker", marks=pytest.mark.docker)


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
