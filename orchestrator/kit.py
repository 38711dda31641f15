"""What a run works with, put together once and handed down."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from backends.contract import Backend
from orchestrator.console import Console
from orchestrator.domain.cell import CellGroup
from orchestrator.domain.provenance import Host, Provenance
from orchestrator.domain.result import Placed
from orchestrator.host.gate import Pace
from orchestrator.interrupts import Interrupts
from orchestrator.runtime.checkout import Checkout
from orchestrator.runtime.interface import Runtime

Accept = Callable[[CellGroup, Provenance], None]


def anything(group: CellGroup, provenance: Provenance) -> None:
    """A run of a request has nothing that it must find again."""


@dataclass(frozen=True, slots=True)
class Kit:
    """What a run works with. Tests put fakes in. `dolly_path` is where the article's prompts may lie, `environment`
    ours, for the fetch of weights, `cache_limit_bytes` what models and artifacts may take, `pace` how patiently the
    clean-room gate looks. `accept` is shown what a group is measured on before its load, and refuses by CellError.
    `placed` says which of several hosts this is."""

    runtime: Runtime
    backends: dict[str, Backend]
    host: Host
    checkout: Checkout
    cache_dir: Path
    dolly_path: Path
    token: str | None
    console: Console
    interrupts: Interrupts
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    cache_limit_bytes: int | None = None
    pace: Pace = field(default_factory=Pace)
    accept: Accept = anything
    placed: Placed | None = None
