"""An engine as a process of this host, in its own virtual environment: for machines without a daemon.

A stated deviation: no isolation but the session's. Every descendant carries its owner's labels in its
environment, so that it is found and killed even after it has left the session.
"""

from __future__ import annotations

import json
import os
import platform
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from shutil import rmtree

import psutil

from backends.contract import ImageSpec, Mount
from orchestrator.domain.cell import RuntimeKind
from orchestrator.domain.provenance import Image
from orchestrator.domain.telemetry import Usage
from orchestrator.errors import CellError, HostError
from orchestrator.render import FOLDER
from orchestrator.runtime import launcher, owner
from orchestrator.runtime.interface import Deployment, DeploymentSpec, Progress, State
from orchestrator.runtime.placement import Placement
from orchestrator.runtime.venvs import ready

MARKER = "LEVELBENCH_DEPLOYMENT"
LOOPBACK = "127.0.0.1"
KILL_S = 10.0
POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class _Engine:
    """What was started for one deployment. `labels` are in the environment of all its processes.

    `process` is the launcher, which ends as the engine does. It is reaped by `down` only: until then no
    other process can get its number.
    """

    process: subprocess.Popen[bytes]
    scratch: Path
    labels: dict[str, str]
    seen: set[psutil.Process] = field(default_factory=set)

    @property
    def exit_code(self) -> int | None:
        """Of the main process, 128+n for signal n; None while it runs."""
        ended = os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if ended is None:
            return None
        return ended.si_status if ended.si_code == os.CLD_EXITED else 128 + ended.si_status

    def members(self) -> list[psutil.Process]:
        """All its living processes, also those that only their parent, now dead, once led to."""
        self.seen.update(_members(self.labels, session=self.process.pid))
        self.seen.intersection_update([p for p in self.seen if _lives(p)])
        return list(self.seen)

    def stop(self, timeout_s: float) -> None:
        """Ask the main process to end and wait for it as long as told."""
        os.kill(self.process.pid, signal.SIGTERM)
        until_s = time.monotonic() + timeout_s
        while self.exit_code is None and time.monotonic() < until_s:
            time.sleep(POLL_S)


class ProcessRuntime:
    """Implements Runtime. `environment` is ours, as the CLI got it: pip needs its proxy and index."""

    kind = RuntimeKind.PROCESS

    def __init__(self, cache_dir: Path, environment: Mapping[str, str]) -> None:
        self._cache_dir = cache_dir
        self._environment = environment
        self._venvs: dict[str, Path] = {}
        self._engines: dict[str, _Engine] = {}

    @property
    def version(self) -> str:
        return f"Python {platform.python_version()}"

    def image(self, spec: ImageSpec, progress: Progress) -> Image:
        venv = ready(spec, self._cache_dir / "venvs", self._environment, progress)
        self._venvs[venv.image.reference] = venv.folder
        return venv.image

    def up(self, spec: DeploymentSpec) -> Deployment:
        port = free_port(spec.port)
        placement = Placement(
            model=str(spec.weights_dir), files=str(FOLDER / "context"), bind=LOOPBACK, port=port
        )
        engine = self._engines[spec.name] = self._start(spec, placement)
        return Deployment(
            name=spec.name,
            handle=str(engine.process.pid),
            host=LOOPBACK,
            port=port,
            argv=placement.argv(spec.serve),
            env=placement.env(spec.serve),
            log_path=spec.log_path,
            stop_s=spec.serve.stop_s,
            runtime=self.kind,
        )

    def state(self, deployment: Deployment) -> State:
        engine = self._engines.get(deployment.name)
        if engine is None:
            return State(running=False)
        exit_code = engine.exit_code
        return State(running=exit_code is None, exit_code=exit_code)

    def usage(self, deployment: Deployment) -> Usage | None:
        """Over all processes of the deployment and those children that they have waited for. Memory that
        processes share counts once (the proportional set size), as a container's does."""
        engine = self._engines.get(deployment.name)
        cpu_s, memory_bytes, count = 0.0, 0, 0
        for process in () if engine is None else engine.members():
            if engine is not None and process.pid == engine.process.pid:
                continue  # the launcher is ours
            with suppress(psutil.Error):
                with process.oneshot():
                    times, memory = process.cpu_times(), process.memory_full_info()
                cpu_s += times.user + times.system + times.children_user + times.children_system
                memory_bytes += memory.pss
                count += 1
        return Usage(cpu_s, memory_bytes, count) if count else None

    def down(self, deployment: Deployment) -> None:
        """As a container's stop: SIGTERM to the engine alone; when it has ended, or its time, all are killed."""
        engine = self._engines.get(deployment.name)
        if engine is None:
            return
        engine.members()
        engine.stop(deployment.stop_s)
        _kill_all(deployment.name, engine.members)
        _require_closed(deployment)
        engine.process.wait()
        rmtree(engine.scratch, ignore_errors=True)
        del self._engines[deployment.name]

    def reap(self, *, dry_run: bool = False) -> tuple[str, ...]:
        """Kill what outlived a dead orchestrator: descendants of an engine that the kernel did not kill
        with it."""
        marks = (_mark(process) for process in psutil.process_iter())
        dead = {m[owner.DEPLOYMENT]: m for m in marks if owner.is_dead(m)}
        for name, labels in () if dry_run else dead.items():
            _kill_all(name, lambda labels=labels: _members(labels))  # type: ignore[misc]
        return tuple(sorted(dead))

    def close(self) -> None:
        """Nothing is held open."""

    def _start(self, spec: DeploymentSpec, placement: Placement) -> _Engine:
        labels = owner.labels(spec.name)
        scratch = Path(tempfile.mkdtemp(prefix="levelbench-"))
        env = _environment(self._venvs[spec.image.reference], scratch, placement.env(spec.serve), spec.gpus)
        env[MARKER] = json.dumps(labels)
        try:
            process = _popen(placement.argv(spec.serve), env, spec.log_path, scratch)
        except OSError as error:
            rmtree(scratch, ignore_errors=True)
            raise CellError(
                f"{spec.serve.argv[0]} could not be started: {error}", hint="see the plan's argv"
            ) from error
        return _Engine(process, scratch, labels)


def free_port(wanted: int) -> int:
    """The port that was asked for, if it is free, or any free one."""
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
    return port


def _environment(venv: Path, scratch: Path, env: Mapping[str, str], gpus: tuple[str, ...]) -> dict[str, str]:
    """All that the engine is told: nothing of ours goes through, least of all a token."""
    cache = Mount.CACHE.value
    return {
        "PATH": f"{venv}/bin:/usr/local/bin:/usr/bin:/bin",
        "HOME": str(scratch),
        "TMPDIR": str(scratch),
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
        **{k: f"{scratch}{v.removeprefix(cache)}" if v.startswith(cache) else v for k, v in env.items()},
        **({"CUDA_VISIBLE_DEVICES": ",".join(gpus)} if gpus else {}),
    }


def _popen(
    argv: tuple[str, ...], env: Mapping[str, str], log_path: Path, folder: Path
) -> subprocess.Popen[bytes]:
    with log_path.open("wb") as log:
        return subprocess.Popen(
            (sys.executable, "-I", launcher.__file__, str(os.getpid()), *argv),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=env,
            cwd=folder,
            start_new_session=True,
        )


def _members(labels: Mapping[str, str], session: int | None = None) -> Iterator[psutil.Process]:
    """Living processes that carry the labels, live in the session, or descend from one that does.

    Neither mark alone is enough: a descendant may open a session of its own, and one that sets its title
    (setproctitle) writes it over its environment.
    """
    found = set()
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            marked = os.getsid(process.pid) == session or _mark(process) == labels
            if (marked or process.ppid() in found) and _lives(process):
                found.add(process.pid)
                yield process


def _lives(process: psutil.Process) -> bool:
    """Whether it runs and is still the same: a later process may have its number."""
    with suppress(psutil.Error):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def _mark(process: psutil.Process) -> dict[str, str]:
    """The labels in a process's environment; none of one that is gone, another user's or not ours."""
    try:
        mark = json.loads(process.environ().get(MARKER, "{}"))
    except (psutil.Error, OSError, ValueError):
        return {}
    return mark if isinstance(mark, dict) else {}


def _kill_all(name: str, members: Callable[[], Iterable[psutil.Process]]) -> None:
    """HostError naming the processes that are left after SIGKILL, in time."""
    until_s = time.monotonic() + KILL_S
    while left := list(members()):
        if time.monotonic() > until_s:
            raise HostError(
                f"processes {', '.join(str(p.pid) for p in left)} of {name} cannot be killed",
                hint="end them by hand (kill -9), or reboot; nothing can be measured beside them",
            )
        for process in left:
            with suppress(psutil.Error):
                process.kill()
        time.sleep(POLL_S)


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
