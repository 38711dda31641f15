"""An engine as a process of this host, in its own virtual environment: for machines without a daemon.

A stated deviation: no isolation but the process group's. Every descendant carries a marker in its
environment, so that it is found and killed even after it has left the group.
"""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from shutil import rmtree

import psutil

from backends.contract import ImageSpec, Mount
from orchestrator.domain.cell import RuntimeKind
from orchestrator.domain.provenance import Image
from orchestrator.domain.telemetry import Usage
from orchestrator.errors import CellError, HostError
from orchestrator.render import FOLDER
from orchestrator.runtime.interface import Deployment, DeploymentSpec, State
from orchestrator.runtime.placement import Placement
from orchestrator.runtime.venvs import Progress, Venv, ready

MARKER = "LEVELBENCH_DEPLOYMENT"
LOOPBACK = "127.0.0.1"
KILL_S = 10.0
POLL_S = 0.05
PR_SET_PDEATHSIG = 1


class ProcessRuntime:
    """Implements Runtime. `environment` is ours, as the CLI got it: pip needs its proxy and index."""

    kind = RuntimeKind.PROCESS

    def __init__(self, cache_dir: Path, environment: Mapping[str, str]) -> None:
        self._cache_dir = cache_dir
        self._environment = environment
        self._venvs: dict[str, Venv] = {}
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._scratch: dict[str, Path] = {}

    @property
    def version(self) -> str:
        return f"Python {platform.python_version()}"

    def image(self, spec: ImageSpec, progress: Progress) -> Image:
        venv = ready(spec, self._cache_dir / "venvs", self._environment, progress)
        self._venvs[venv.image.reference] = venv
        return venv.image

    def up(self, spec: DeploymentSpec) -> Deployment:
        port = free_port(spec.port)
        placement = Placement(
            model=str(spec.weights_dir), files=str(FOLDER / "context"), bind=LOOPBACK, port=port
        )
        venv = self._venvs[spec.image.reference].folder
        scratch = self._scratch[spec.name] = Path(tempfile.mkdtemp(prefix="levelbench-"))
        argv, env = placement.argv(spec.serve), placement.env(spec.serve)
        whole_env = {
            "PATH": f"{venv}/bin:/usr/local/bin:/usr/bin:/bin",
            "HOME": str(scratch),
            "TMPDIR": str(scratch),
            "LANG": "C.UTF-8",
            "PYTHONUNBUFFERED": "1",
            **{k: v.replace(Mount.CACHE.value, str(scratch), 1) for k, v in env.items()},
            **({"CUDA_VISIBLE_DEVICES": ",".join(spec.gpus)} if spec.gpus else {}),
            MARKER: spec.name,
        }
        self._running[spec.name] = process = self._start(argv, whole_env, spec.log_path)
        return Deployment(
            name=spec.name,
            handle=str(process.pid),
            host=LOOPBACK,
            port=port,
            argv=argv,
            env=env,
            log_path=spec.log_path,
            stop_s=spec.serve.stop_s,
            runtime=self.kind,
        )

    def state(self, deployment: Deployment) -> State:
        process = self._running.get(deployment.name)
        code = None if process is None else process.poll()
        if process is not None and code is None:
            return State(running=True)
        return State(running=False, exit_code=128 - code if code is not None and code < 0 else code)

    def usage(self, deployment: Deployment) -> Usage | None:
        """Over all processes of the deployment; the seconds of those that have ended are not in it."""
        cpu_s, memory_bytes, count = 0.0, 0, 0
        for process in self._members(deployment.name):
            with suppress(psutil.Error):
                with process.oneshot():
                    times, memory = process.cpu_times(), process.memory_info()
                cpu_s += times.user + times.system
                memory_bytes += memory.rss
                count += 1
        return Usage(cpu_s, memory_bytes, count) if count else None

    def down(self, deployment: Deployment) -> None:
        members = list(self._members(deployment.name))
        for process in members:
            with suppress(psutil.Error):
                process.terminate()
        _wait(members, deployment.stop_s)
        left = self._kill_all(deployment.name)
        ended = self._running.pop(deployment.name, None)
        if ended is not None:
            ended.wait()
        rmtree(self._scratch.pop(deployment.name, Path("/nonexistent")), ignore_errors=True)
        if left:
            raise HostError(
                f"processes {', '.join(map(str, left))} of {deployment.name} cannot be killed",
                hint="end them by hand (kill -9), or reboot; nothing can be measured beside them",
            )
        _require_closed(deployment)

    def reap(self, *, dry_run: bool = False) -> tuple[str, ...]:
        """Kill what outlived a dead orchestrator: descendants of an engine that the kernel did not kill
        with it."""
        names = {m for p in _marked() if (m := _mark(p)) and m not in self._running and _orphaned(p)}
        return tuple(sorted(name for name in names if dry_run or not self._kill_all(name)))

    def _start(
        self, argv: tuple[str, ...], env: Mapping[str, str], log_path: Path
    ) -> subprocess.Popen[bytes]:
        try:
            with log_path.open("wb") as log:
                return subprocess.Popen(
                    argv,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=env,
                    cwd=env["HOME"],
                    start_new_session=True,
                    preexec_fn=_die_with_parent,  # noqa: PLW1509 - one prctl, no lock is taken
                )
        except OSError as error:
            rmtree(env["HOME"], ignore_errors=True)
            raise CellError(f"{argv[0]} could not be started: {error}", hint="see the plan's argv") from error

    def _members(self, name: str) -> Iterator[psutil.Process]:
        """The engine, its descendants, and whatever carries the marker."""
        seen: set[int] = set()
        process = self._running.get(name)
        if process is not None and process.poll() is None:
            with suppress(psutil.Error):
                root = psutil.Process(process.pid)
                for member in (root, *root.children(recursive=True)):
                    seen.add(member.pid)
                    yield member
        for member in _marked():
            if member.pid not in seen and _mark(member) == name:
                yield member

    def _kill_all(self, name: str) -> list[int]:
        """Pids that are left after SIGKILL, in time."""
        until_s = time.monotonic() + KILL_S
        while (members := list(self._members(name))) and time.monotonic() < until_s:
            for member in members:
                with suppress(psutil.Error):
                    member.kill()
            _wait(members, POLL_S)
        return [m.pid for m in members]


def free_port(wanted: int) -> int:
    """The port that was asked for, if it is free, or any free one."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, wanted))
        except OSError as error:
            raise HostError(f"port {wanted} is taken", hint="choose another with PORT=, or none") from error
        port: int = probe.getsockname()[1]
    return port


def _require_closed(deployment: Deployment) -> None:
    try:
        socket.create_connection((deployment.host, deployment.port), timeout=1).close()
    except OSError:
        return
    raise HostError(
        f"something still listens on port {deployment.port} after {deployment.name} was taken down",
        hint=f"see who: ss -ltnp 'sport = :{deployment.port}'",
    )


def _wait(processes: list[psutil.Process], timeout_s: float) -> None:
    """Until all have ended or the time is over; also reaps those that are our children."""
    psutil.wait_procs(processes, timeout=timeout_s)


def _marked() -> Iterator[psutil.Process]:
    own = os.getpid()
    for process in psutil.process_iter():
        if process.pid != own and _mark(process):
            yield process


def _mark(process: psutil.Process) -> str | None:
    """The deployment whose marker a living process carries."""
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return process.environ().get(MARKER)
    except (psutil.Error, OSError):
        return None  # gone, or another user's: not ours


def _orphaned(process: psutil.Process) -> bool:
    """Whether no ancestor is left that could be the orchestrator which started it."""
    with suppress(psutil.Error):
        return all(p.pid == 1 or _mark(p) for p in process.parents())
    return False


def _die_with_parent() -> None:
    """Ask the kernel for SIGKILL when the orchestrator dies, however it dies (prctl(2))."""
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


_prctl: Callable[[int, int], int] = ctypes.CDLL(None).prctl
