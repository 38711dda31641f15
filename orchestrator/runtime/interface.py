"""Where a deployment lives, as the orchestrator sees it: eight verbs, two implementations.

`docker.py` and `process.py` implement `Runtime`; tests/fakes/runtime.py implements it too, and all three
pass tests/runtime/test_contract.py. Nothing else in the project starts or stops an engine.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from backends.contract import ImageSpec, ServeSpec
from orchestrator.domain.cell import RuntimeKind
from orchestrator.domain.provenance import Image
from orchestrator.domain.telemetry import Usage

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class DeploymentSpec:
    """What is asked for. `weights_dir` is the host's folder, mounted read-only under the name `model_folder`,
    which some engines take a hint from; `gpus` are UUIDs.

    `port` 0 lets the runtime choose a free one. The engine's whole output goes to `log_path`.
    """

    name: str
    image: Image
    serve: ServeSpec
    model_folder: str
    weights_dir: Path
    log_path: Path
    gpus: tuple[str, ...] = ()
    port: int = 0


@dataclass(frozen=True, slots=True)
class Deployment:
    """What is alive. `handle` is the container's id or the process group's id."""

    name: str
    handle: str
    host: str
    port: int
    argv: tuple[str, ...]
    env: dict[str, str]
    log_path: Path
    stop_s: float
    runtime: RuntimeKind

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class State:
    """Whether the engine's main process runs; if not, how it ended (128+n for signal n)."""

    running: bool
    exit_code: int | None = None
    oom_killed: bool = False


class Runtime(Protocol):
    """Brings one release up and takes it down again, with proof."""

    @property
    def kind(self) -> RuntimeKind: ...

    @property
    def version(self) -> str:
        """Of the daemon, or of the Python that runs the engine."""

    def image(self, spec: ImageSpec, progress: Progress) -> Image:
        """Build or install the release; cached by content. CellError when it cannot be built."""

    def up(self, spec: DeploymentSpec) -> Deployment:
        """Start the engine and return at once; readiness is somebody else's question."""

    def state(self, deployment: Deployment) -> State:
        """Cheap enough for every poll."""

    def usage(self, deployment: Deployment) -> Usage | None:
        """CPU and memory of all its processes, or None when it is gone."""

    def down(self, deployment: Deployment) -> None:
        """Stop, kill, remove; prove it gone. HostError when that cannot be proven. Idempotent."""

    def reap(self, *, dry_run: bool = False) -> tuple[str, ...]:
        """Remove what a run left whose orchestrator is provably dead; the names of what it was."""

    def close(self) -> None:
        """Give back connections; deployments are not touched."""
