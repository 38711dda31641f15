"""How fast a GPU's memory is, by its name. What is not in the catalogue is not known."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path

from backends.contract import Value

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FILE = Path(__file__).with_name("gpus.toml")


class GpuMemory(Value):
    """What its maker says that it moves at most, and where."""

    bandwidth_bytes_per_s: float
    source: str


@cache
def memories() -> dict[str, GpuMemory]:
    """Every GPU of the catalogue, by the name that NVML gives it."""
    return {
        name: GpuMemory.model_validate(entry)
        for name, entry in tomllib.loads(FILE.read_text("utf-8")).items()
    }
