"""What a token cost: energy, money, and how near the engine came to what the GPU's memory can move. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from backends.contract import Accelerator
from orchestrator.catalog.gpus import GpuMemory, memories
from orchestrator.domain.result import Result
from orchestrator.report.figures import gpu_power_w

HOUR_S = 3600
MILLION = 1e6


@dataclass(frozen=True, slots=True)
class Price:
    """What one GPU costs per hour, in the currency that its owner named."""

    per_hour: float
    currency: str = ""

    @property
    def text(self) -> str:
        return f"{self.per_hour:g} {self.currency}".strip()


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one result. What cannot be told is None, and `unknown` says why; each reason once."""

    joules_per_token: float | None
    price_per_million: float | None
    steps_per_s: float | None
    bandwidth_share: float | None
    unknown: tuple[str, ...]


def price(text: str) -> Price | None:
    """`1.89`, `1.89 EUR`, `EUR 1.89`; None where there is no positive number in it."""
    found = re.fullmatch(r"\s*([^\d\s.,-]*)\s*(\d+(?:\.\d+)?)\s*([^\d\s.,-]*)\s*", text)
    if found is None or not 0 < float(found[2]) < math.inf:
        return None
    return Price(float(found[2]), found[1] or found[3])


def gpu_indices(result: Result) -> tuple[str, ...]:
    """The GPUs that telemetry watched while it was measured: `gpu0`, `gpu1`."""
    series = {name.partition(".")[0] for name in result.telemetry.mean if re.match(r"gpu\d+\.", name)}
    return tuple(sorted(series))


def cost(result: Result, weights_bytes: Mapping[str, int], at: Price | None) -> Cost:
    """`weights_bytes` are those of each model as it lies in the engine's memory, by the model's id."""
    m = result.metrics
    rate = m.tokens_per_s if m else 0.0
    watts, gpus = gpu_power_w(result), gpu_indices(result)
    step_s = m.itl_s.mean if m else None
    limit, unknown = _limit(result, weights_bytes)
    if not rate:
        return Cost(None, None, None, None, ("no tokens were measured",))
    return Cost(
        joules_per_token=watts / rate if watts is not None else None,
        price_per_million=at.per_hour * len(gpus) / HOUR_S / rate * MILLION if at and gpus else None,
        steps_per_s=1 / step_s if step_s else None,
        bandwidth_share=limit / step_s if limit and step_s else None,
        unknown=unknown,
    )


def weights(plan: Mapping[str, Any]) -> dict[str, int]:
    """Bytes of each model's weights in the engine's memory, out of a run's plan; empty where it has none."""
    groups = plan.get("groups")
    models = (
        [g["model"] for g in groups if isinstance(g, dict) and isinstance(g.get("model"), dict)]
        if groups
        else []
    )
    found = {m.get("id"): m.get("served_bytes") or m.get("weights_bytes") for m in models}
    return {str(name): int(size) for name, size in found.items() if name and size}


def _limit(result: Result, weights_bytes: Mapping[str, int]) -> tuple[float | None, tuple[str, ...]]:
    """Seconds that the GPUs' memory needs at least to move all weights once, or why nobody can say."""
    gpus = gpu_indices(result)
    if result.cell.group.accelerator is Accelerator.CPU:
        return None, ("the engine ran on the CPU: no GPU was measured",)
    if not gpus:
        return None, ("no GPU was seen by telemetry",)
    size = weights_bytes.get(result.cell.group.model)
    if size is None:
        return None, (f"nobody knows the size of {result.cell.group.model}'s weights",)
    known = [_memory(result, gpu) for gpu in gpus]
    named = [m for m in known if isinstance(m, GpuMemory)]
    if len(named) < len(known):
        return None, tuple(dict.fromkeys(m for m in known if isinstance(m, str)))
    return size / sum(m.bandwidth_bytes_per_s for m in named), ()


def _memory(result: Result, gpu: str) -> GpuMemory | str:
    """That of `gpu0`, the first GPU of the host by NVML's order; or a word about why it is not known."""
    host = result.provenance.host.gpus if result.provenance else ()
    index = int(gpu.removeprefix("gpu"))
    if index >= len(host):
        return f"provenance does not name {gpu}"
    name = host[index].name
    return memories().get(name) or f"the memory bandwidth of {name} is not in catalog/gpus.toml"
