"""Where a deployment lives, as the orchestrator sees it: twelve verbs, two implementations.

`docker.py` and `process.py` implement `Runtime`; tests/fakes/runtime.py implements it too, and all three
pass tests/runtime/test_contract.py. Nothing else in the project starts or stops an engine or a step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from backends.contract import ImageSpec, Launch, ServeSpec, StepSpec
from orchestrator.domain.cell import RuntimeKind
from orchestrator.domain.provenance import Image
from orchestrator.domain.shelf import Shelved
from orchestrator.domain.telemetry import Usage

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandSpec:
    """What every command of an engine is given. `weights_dir` is the host's folder, mounted read-only under
    the name `model_folder`, which some engines take a hint from; `steps` are the outputs of earlier steps,
    read-only too; `gpus` are UUIDs; `cpus` those that it may run on, without any all. The command's whole output goes to `log_path`.
    """

    name: str
    image: Image
    model_folder: str
    weights_dir: Path
    log_path: Path
    steps: Mapping[str, Path] = field(default_factory=dict)
    gpus: tuple[str, ...] = ()
    cpus: tuple[int, ...] = ()

    @property
    def config_dir(self) -> Path:
        """Where the command's own files are written, beside its log: what it was given can be read later."""
        return self.log_path.with_suffix(".config")

    def inputs(self, launch: Launch) -> dict[str, Path]:
        """Of the earlier outputs, those that the command reads."""
        return {name: self.steps[name] for name in launch.step_inputs}


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentSpec(CommandSpec):
    """An engine to be started. `port` 0 lets the runtime choose a free one."""

    serve: ServeSpec
    port: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec(CommandSpec):
    """A step to be run to its end. `out_dir` is the one folder that it may write."""

    step: StepSpec
    out_dir: Path


@dataclass(frozen=True, slots=True)
class Rendered:
    """A command as it would be started. A port that is chosen only then is still `{port}`."""

    argv: tuple[str, ...]
    env: dict[str, str]


@dataclass(frozen=True, slots=True)
class Deployment:
    """What is alive. `handle` is the container's id or the process group's id. `engine_port` is the engine's own
    where a serving layer listens on `port`."""

    name: str
    handle: str
    host: str
    port: int
    argv: tuple[str, ...]
    env: dict[str, str]
    log_path: Path
    stop_s: float
    runtime: RuntimeKind
    engine_port: int | None = None

    @property
    def url(self) -> str:
        """Where requests go."""
        return f"http://{self.host}:{self.port}"

    @property
    def engine(self) -> Deployment:
        """The same, seen past a serving layer: where the engine's own pages are."""
        return self if self.engine_port is None else replace(self, port=self.engine_port, engine_port=None)


@dataclass(frozen=True, slots=True)
class State:
    """Whether the engine's main process runs; if not, how it ended (128+n for signal n). `why`: what the runtime knows
    of who ended it."""

    running: bool
    exit_code: int | None = None
    oom_killed: bool = False
    why: str = ""


@dataclass(frozen=True, slots=True)
class JobEnd:
    """How a job ended. `late` says in words which limit it ran into, if one ended it; memory is the most
    that was seen, looked at twice a second."""

    state: State
    wall_s: float
    peak_memory_bytes: int
    late: str = ""


class Runtime(Protocol):
    """Brings one release up and takes it down again, with proof."""

    @property
    def kind(self) -> RuntimeKind: ...

    @property
    def version(self) -> str:
        """Of the daemon, or of the Python that runs the engine."""

    def image(self, spec: ImageSpec, progress: Progress) -> Image:
        """Build or install the release; cached by content. CellError when it cannot be built."""

    def shelved(self) -> tuple[Shelved, ...]:
        """What `image` has made and is still here, also for other runs."""

    def discard(self, name: str) -> bool:
        """Remove one of these; False where somebody uses it, or it has gone."""

    def rendered(self, spec: DeploymentSpec) -> Rendered:
        """What `up` would start, and nothing is started."""

    def up(self, spec: DeploymentSpec) -> Deployment:
        """Start the engine and return at once; readiness is somebody else's question."""

    def state(self, deployment: Deployment) -> State:
        """Cheap enough for every poll."""

    def usage(self, deployment: Deployment) -> Usage | None:
        """CPU and memory of all its processes, or None when it is gone."""

    def pids(self, deployment: Deployment) -> frozenset[int] | None:
        """The numbers of all its processes as this host counts them; None when they cannot be told from here."""

    def down(self, deployment: Deployment) -> None:
        """Stop, kill, remove; prove it gone. HostError when that cannot be proven. Idempotent."""

    def run(self, spec: JobSpec, on_line: Progress, watch: Callable[[], None]) -> JobEnd:
        """Run a step to its end and leave nothing of it but its output, which is ours then, whatever its
        user was. `on_line` hears the newest line of its log; `watch` is called at every look, and what it
        raises ends the job."""

    def reap(self, *, dry_run: bool = False) -> tuple[str, ...]:
        """Remove what a run left whose orchestrator is provably dead; the names of what it was."""

    def close(self) -> None:
        """Give back connections; deployments are not touched."""
