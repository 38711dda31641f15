"""What a cell's figures rest on, as one value: two cells whose contents are equal need not both be measured. Pure.

Everything stands here as it is known right before the engine is started, with every placeholder of the command
filled in; only the port, which may be any free one, is left open.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from backends.contract import Launch, RequestSpec, Value
from orchestrator.domain.cell import Cell
from orchestrator.domain.cpus import ranges
from orchestrator.domain.provenance import CpuSets, Host

GIBIBYTE = 2**30


class Content(Value):
    """Digests, and what is short enough to be read. `steps` are the addresses of the weights and of every step's
    output; `workload` covers the load too; `gpus` are those that the engine gets, by UUID."""

    method: int
    image: str
    argv: tuple[str, ...]
    env: dict[str, str]
    files: dict[str, str]
    steps: dict[str, str]
    weights: str
    prompts: str
    requests: str
    workload: str
    hardware: str
    gpus: tuple[str, ...]
    cpus: str


def differences(before: Content | None, now: Content) -> tuple[str, ...]:
    """What is not as it was, in words; nothing where all of it is."""
    if before is None:
        return ("what it rested on was not noted",)
    return tuple(
        _changed(name, getattr(before, name), getattr(now, name))
        for name in Content.model_fields
        if getattr(before, name) != getattr(now, name)
    )


def workload(cell: Cell) -> str:
    """Of the cell's own load; which other loads its deployment has does not count."""
    own = cell.group.workload.model_dump(mode="json", exclude={"users", "rates", "system_prompts", "title"})
    return digest([own, cell.load.model_dump(mode="json")])


def files(launch: Launch) -> dict[str, str]:
    return {file.path: digest(file.text) for file in launch.files}


def requests(spec: RequestSpec) -> str:
    return digest(spec.model_dump(mode="json"))


def hardware(host: Host) -> str:
    """In words. The kernel counts memory a little differently at every boot, so whole GiB are enough."""
    gpus = [f"{g.name} {g.uuid}, driver {g.driver}" for g in host.gpus]
    return "; ".join(
        [f"{host.machine}, {host.cpu}, {host.cpus} CPUs, {host.memory_bytes // GIBIBYTE} GiB", *gpus]
    )


def cpus(sets: CpuSets) -> str:
    """Which the engine may use, and which the load client."""
    return f"engine {ranges(sets.engine)}, client {ranges(sets.client)}"


def digest(value: Any) -> str:
    return f"sha256:{hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()}"


def _changed(name: str, before: Any, now: Any) -> str:
    """Short, so that a line of the journal says it all."""
    if isinstance(before, dict) and isinstance(now, dict):
        keys = sorted(k for k in {*before, *now} if before.get(k) != now.get(k))
        return f"{name} ({', '.join(keys)})"
    if isinstance(before, tuple) and isinstance(now, tuple):
        words = [word for word in (*now, *before) if (word in now) is not (word in before)]
        return f"{name} ({' '.join(words)})" if words else f"{name} (another order)"
    return f"{name} ({before} -> {now})"
