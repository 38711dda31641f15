"""A workshop for tests: the store of a folder, a runtime, and what was said."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator import steps
from orchestrator.artifacts import Artifact, Store
from orchestrator.domain.model import Model
from orchestrator.interrupts import Interrupts
from orchestrator.runtime.interface import Runtime
from orchestrator.store.runs import RunFolder
from tests.fakes.runtime import FakeRuntime


@dataclass
class Bench:
    """`shop()` is made anew each time, as for each group of a run."""

    folder: Path
    runtime: Runtime = field(default_factory=FakeRuntime)
    limit_bytes: int | None = None
    needed: tuple[str, ...] = ()
    token: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)
    interrupts: Interrupts = field(default_factory=lambda: Interrupts(lambda _: None))

    @property
    def cache(self) -> Path:
        return self.folder / "cache"

    @property
    def runs(self) -> Path:
        return self.folder / "runs"

    def shop(self) -> steps.Workshop:
        run = f"run-{os.getpid()}"  # orchestrators that share a cache have each a run of their own
        if not (self.runs / run).exists():
            RunFolder.create(self.runs, run, {})
        return steps.Workshop(
            name="group",
            folder=RunFolder.find(self.runs, run),
            store=Store(self.cache, self.limit_bytes, self.needed),
            runtime=self.runtime,
            interrupts=self.interrupts,
            progress=self.said.append,
            environment=self.environment,
            token=self.token,
        )

    def weights(self, model: Model) -> Artifact:
        return steps.weights(model, self.shop())


def left(cache: Path, kind: str = "models") -> list[str]:
    """Everything but locks that lies in a part of the store, drafts included."""
    return sorted(p.name for p in (cache / kind).glob("*") if p.suffix != ".lock")
