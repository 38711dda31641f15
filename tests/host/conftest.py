"""The NVML stub for every test of the host."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pynvml
import pytest

from tests.fakes import nvml
from tests.fakes.nvml import Stub


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
