"""An engine as a process of this host, in its own virtual environment: for machines without a daemon.

A stated deviation: no isolation but the session's. Every descendant carries its owner's labels in its
environment, so that it is found and killed even after it has left the session.
"""

from __future__ import annotations

import platform
import socket
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree

from backends.contract import ImageSpec, Launch, Mount
from orchestrator.domain.cell import RuntimeKind
from orchestrator.domain.provenance import Image
from orchestrator.domain.shelf import Shelved
from orchestrator.domain.telemetry import Usage
from orchestrator.errors import HostError
from orchestrator.host.scratch import owned_prefix
from orchestrator.render import FOLDER
from orchestrator.runtime import session, venvs
from orchestrator.runtime.interface import (
    CommandSpec,
    Deployment,
    DeploymentSpec,
    JobEnd,
    JobSpec,
    Progress,
    Rendered,
    State,
)
from orchestrator.runtime.job import Limits
from orchestrator.runtime.placement import Placement, write_files
from orchestrator.runtime.session import Command, Session
from orchestrator.runtime.venvs import Venv, ready

VENVS = "venvs"
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class _Engine:
    """What was started for one deployment, and the folder that goes with it."""

    session: Session
    scratch: Path


class ProcessRuntime:
    """Implements Runtime. `environment` is ours, as the CLI got it: pip needs its proxy and index."""

    kind = RuntimeKind.PROCESS

    def __init__(self, cache_dir: Path, environment: Mapping[str, str]) -> None:
        self._cache_dir = cache_dir
        self._environment = environment
        self._venvs: dict[str, Venv] = {}
        self._engines: dict[str, _Engine] = {}

    @property
    def version(self) -> str:
        return f"Python {platform.python_version()}"

    def image(self, spec: ImageSpec, progress: Progress) -> Image:
        venv = ready(spec, self._cache_dir / VENVS, self._environment, progress)
        self._venvs[venv.image.reference] = venv
        return venv.image

    def shelved(self) -> tuple[Shelved, ...]:
        return venvs.shelved(self._cache_dir / VENVS)

    def discard(self, name: str) -> bool:
        return venvs.discard(self._cache_dir / VENVS / name)

    def rendered(self, spec: DeploymentSpec) -> Rendered:
        places = {"port": "{port}", "engine_port": "{engine_port}", "layer": "{layer}"}
        placement = _placement(spec, spec.serve, **places)
        return Rendered(placement.argv(spec.serve), placement.env(spec.serve))

    def up(self, spec: DeploymentSpec) -> Deployment:
        port = free_port(spec.port)
        engine_port = None if spec.serve.engine_port is None else free_port(0, apart_from=port)
        layer = self._venvs[spec.image.reference].layer
        placement = _placement(spec, spec.serve, port=port, engine_port=engine_port, layer=layer)
        scratch = _scratch()
        try:
            started = session.start(self._command(spec, spec.serve, placement, scratch, spec.gpus or None))
        except BaseException:
            rmtree(scratch, ignore_errors=True)
            raise
        self._engines[spec.name] = _Engine(started, scratch)
        return Deployment(
            name=spec.name,
            handle=str(started.process.pid),
            host=LOOPBACK,
            port=port,
            argv=placement.argv(spec.serve),
            env=placement.env(spec.serve),
            log_path=spec.log_path,
            stop_s=spec.serve.stop_s,
            runtime=self.kind,
            engine_port=engine_port,
        )

    def state(self, deployment: Deployment) -> State:
        engine = self._engines.get(deployment.name)
        return State(running=False) if engine is None else engine.session.state()

    def usage(self, deployment: Deployment) -> Usage | None:
        engine = self._engines.get(deployment.name)
        return None if engine is None else engine.session.usage()

    def pids(self, deployment: Deployment) -> frozenset[int] | None:
        engine = self._engines.get(deployment.name)
        return frozenset() if engine is None else frozenset(p.pid for p in engine.session.members())

    def down(self, deployment: Deployment) -> None:
        """As a container's stop: SIGTERM to the engine alone; when it has ended, or its time, all are killed."""
        engine = self._engines.get(deployment.name)
        if engine is None:
            return
        engine.session.stop(deployment.stop_s)
        engine.session.kill()
        for listener in (deployment, deployment.engine):
            _require_closed(listener)
        engine.session.reap()
        rmtree(engine.scratch, ignore_errors=True)
        del self._engines[deployment.name]

    def run(self, spec: JobSpec, on_line: Progress, watch: Callable[[], None]) -> JobEnd:
        placement = _placement(spec, spec.step, out=str(spec.out_dir))
        scratch = _scratch()
        try:
            command = self._command(spec, spec.step, placement, scratch, spec.gpus)
            return session.run(command, Limits(deadline_s=spec.step.deadline_s), on_line, watch)
        finally:
            rmtree(scratch, ignore_errors=True)

    def reap(self, *, dry_run: bool = False) -> tuple[str, ...]:
        return session.reap(dry_run=dry_run)

    def close(self) -> None:
        """Nothing is held open."""

    def _command(
        self,
        spec: CommandSpec,
        launch: Launch,
        placement: Placement,
        scratch: Path,
        gpus: tuple[str, ...] | None,
    ) -> Command:
        write_files(launch, placement, spec.config_dir)
        env = _environment(self._venvs[spec.image.reference].folder, scratch, placement.env(launch), gpus)
        return Command(
            name=spec.name,
            argv=placement.argv(launch),
            env=env,
            folder=scratch,
            log_path=spec.log_path,
            ulimits=launch.ulimits,
            cpus=spec.cpus,
        )


def free_port(wanted: int, *, apart_from: int = 0) -> int:
    """The port that was asked for, if it is free, or any free one but the one that is taken already."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, wanted))
        except OSError as error:
            raise HostError(
                f"port {wanted} cannot be listened on: {error.strerror}",
                hint="choose another with PORT=, or none",
            ) from error
        port: int = probe.getsockname()[1]
        return port if port != apart_from else free_port(wanted, apart_from=apart_from)


def _placement(
    spec: CommandSpec,
    launch: Launch,
    *,
    port: int | str = 0,
    engine_port: int | str | None = None,
    layer: Path | str | None = None,
    out: str = "",
) -> Placement:
    return Placement(
        model=str(spec.weights_dir),
        files=str(FOLDER / "context"),
        config=str(spec.config_dir),
        bind=LOOPBACK,
        port=port,
        out=out,
        engine_port=engine_port or 0,
        layer=str(layer or ""),
        steps={name: str(folder) for name, folder in spec.inputs(launch).items()},
    )


def _scratch() -> Path:
    return Path(tempfile.mkdtemp(prefix=owned_prefix("engine")))


def _environment(
    venv: Path, scratch: Path, env: Mapping[str, str], gpus: tuple[str, ...] | None
) -> dict[str, str]:
    """All that the command is told: nothing of ours goes through, least of all a token. Without GPUs none is
    seen; None leaves it to the command."""
    cache = Mount.CACHE.value
    return {
        "PATH": f"{venv}/bin:/usr/local/bin:/usr/bin:/bin",
        "HOME": str(scratch),
        "TMPDIR": str(scratch),
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
        **{k: f"{scratch}{v.removeprefix(cache)}" if v.startswith(cache) else v for k, v in env.items()},
        **({} if gpus is None else {"CUDA_VISIBLE_DEVICES": ",".join(gpus)}),
    }


def _require_closed(deployment: Deployment) -> None:
    with socket.socket() as probe:
        probe.settimeout(1)
        try:
            probe.connect((deployment.host, deployment.port))
        except OSError:
            return
        if probe.getsockname() == probe.getpeername():
            return  # Linux joined the probe to itself: the port was free and its own number at once
    raise HostError(
        f"something still listens on port {deployment.port} after {deployment.name} was taken down",
        hint=f"see who: ss -ltnp 'sport = :{deployment.port}'",
    )
