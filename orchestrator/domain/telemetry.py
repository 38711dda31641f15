"""Samples of what the machine did while a load ran, all on CLOCK_MONOTONIC.

A sample is one source at one moment: a mapping of series names to numbers. Names carry their unit
(`gpu0.power_w`, `engine.cpu_s`, `engine.memory_bytes`, `metrics.running`).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sample:
    """One reading. `took_ns` is how long the reading itself took."""

    t_ns: int
    source: str
    values: dict[str, float]
    took_ns: int = 0


@dataclass(frozen=True, slots=True)
class Usage:
    """What a deployment has used so far: CPU seconds (all its processes) and memory now."""

    cpu_s: float
    memory_bytes: int
    processes: int
