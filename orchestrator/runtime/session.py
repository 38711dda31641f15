"""The processes of one engine or job: started behind a launcher, found wherever they went, ended with proof."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from orchestrator.domain.telemetry import Usage
from orchestrator.errors import HostError
from orchestrator.runtime import launcher, owner
from orchestrator.runtime.interface import JobEnd, Progress, State
from orchestrator.runtime.job import Limits, until_ended

MARKER = "LEVELBENCH_DEPLOYMENT"
KILLED = 128 + signal.SIGKILL
VMSTAT = Path("/proc/vmstat")
KILL_S = 10.0
POLL_S = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What is to be started: with this environment and no other, in this folder, on these CPUs if any are named."""

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    folder: Path
    log_path: Path
    ulimits: Mapping[str, int] = field(default_factory=dict)
    cpus: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Session:
    """What was started. `labels` are in the environment of all its processes; `oom_kills` is the kernel's
    count before it.

    `process` is the launcher, which ends as the command does. Until it is reaped, no other process can
    get its number.
    """

    name: str
    process: subprocess.Popen[bytes]
    labels: dict[str, str]
    seen: set[psutil.Process] = field(default_factory=set)
    oom_kills: int = 0

    @property
    def exit_code(self) -> int | None:
        """Of the main process, 128+n for signal n; None while it runs."""
        ended = os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if ended is None:
            return None
        return ended.si_status if ended.si_code == os.CLD_EXITED else 128 + ended.si_status

    def state(self) -> State:
        """SIGKILL counts as the kernel's for lack of memory if the kernel has killed somebody for that meanwhile."""
        exit_code = self.exit_code
        killed = exit_code == KILLED and oom_kills() > self.oom_kills
        return State(running=exit_code is None, exit_code=exit_code, oom_killed=killed)

    def usage(self) -> Usage | None:
        """Over all its processes and those children that they have waited for. Memory that processes share
        counts once (the proportional set size), as a container's does."""
        cpu_s, memory_bytes, count = 0.0, 0, 0
        for process in self.members():
            if process.pid == self.process.pid:
                continue  # the launcher is ours
            with suppress(psutil.Error):
                with process.oneshot():
                    times, memory = process.cpu_times(), process.memory_full_info()
                cpu_s += times.user + times.system + times.children_user + times.children_system
                memory_bytes += memory.pss
                count += 1
        return Usage(cpu_s, memory_bytes, count) if count else None

    def members(self) -> list[psutil.Process]:
        """All its living processes, also those that only their parent, now dead, once led to."""
        self.seen.update(members(self.labels, session=self.process.pid))
        self.seen.intersection_update([p for p in self.seen if _lives(p)])
        return list(self.seen)

    def stop(self, timeout_s: float) -> None:
        """Ask the main process to end and wait for it as long as told."""
        self.members()
        os.kill(self.process.pid, signal.SIGTERM)
        until_s = time.monotonic() + timeout_s
        while self.exit_code is None and time.monotonic() < until_s:
            time.sleep(POLL_S)

    def kill(self) -> None:
        """What is left of it. HostError when something cannot be killed."""
        kill_all(self.name, self.members)

    def reap(self) -> None:
        """Let its number go, once it is dead."""
        self.process.wait()


def oom_kills() -> int:
    """How many processes the kernel of this host has killed for lack of memory since it booted."""
    with suppress(OSError):
        for line in VMSTAT.read_text().splitlines():
            name, _, number = line.partition(" ")
            if name == "oom_kill":
                return int(number)
    return 0


def start(command: Command) -> Session:
    """Start a command behind a launcher; that it cannot be found is told by exit code 127 and its log."""
    labels, before = owner.labels(command.name), oom_kills()
    limits, cpus = json.dumps(dict(command.ulimits)), json.dumps(command.cpus)
    argv = (sys.executable, "-I", launcher.__file__, str(os.getpid()), limits, cpus, *command.argv)
    try:
        with command.log_path.open("wb") as log:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**command.env, MARKER: json.dumps(labels)},
                cwd=command.folder,
                start_new_session=True,
            )
    except OSError as error:
        raise HostError(
            f"{command.argv[0]} could not be started: {error}",
            hint="check the disk and the limits of this user",
        ) from error
    return Session(command.name, process, labels, oom_kills=before)


def run(command: Command, limits: Limits, on_line: Progress, watch: Callable[[], None]) -> JobEnd:
    """Run a command to its end; nothing of it is left then, whatever happened meanwhile."""
    session = start(command)
    try:
        return until_ended(session, command.log_path, limits, on_line, watch)
    finally:
        session.kill()
        session.reap()


def reap(*, dry_run: bool) -> tuple[str, ...]:
    """Kill what outlived a dead orchestrator: descendants of a command that the kernel did not kill with it."""
    marks = (mark(process) for process in psutil.process_iter())
    dead = {m[owner.DEPLOYMENT]: m for m in marks if owner.is_dead(m)}
    for name, labels in () if dry_run else dead.items():
        kill_all(name, lambda labels=labels: members(labels))  # type: ignore[misc]
    return tuple(sorted(dead))


def members(labels: Mapping[str, str], session: int | None = None) -> Iterator[psutil.Process]:
    """Living processes that carry the labels, live in the session, or descend from one that does.

    Neither mark alone is enough: a descendant may open a session of its own, and one that sets its title
    (setproctitle) writes it over its environment.
    """
    found = set()
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            marked = os.getsid(process.pid) == session or mark(process) == labels
            if (marked or process.ppid() in found) and _lives(process):
                found.add(process.pid)
                yield process


def mark(process: psutil.Process) -> dict[str, str]:
    """The labels in a process's environment; none of one that is gone, another user's or not ours."""
    try:
        found = json.loads(process.environ().get(MARKER, "{}"))
    except (psutil.Error, OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def kill_all(name: str, living: Callable[[], Iterable[psutil.Process]]) -> None:
    """HostError naming the processes that are left after SIGKILL, in time."""
    until_s = time.monotonic() + KILL_S
    while left := list(living()):
        if time.monotonic() > until_s:
            raise HostError(
                f"processes {', '.join(str(p.pid) for p in left)} of {name} cannot be killed",
                hint="end them by hand (kill -9), or reboot; nothing can be measured beside them",
            )
        for process in left:
            with suppress(psutil.Error):
                process.kill()
        time.sleep(POLL_S)


def _lives(process: psutil.Process) -> bool:
    """Whether it runs and is still the same: a later process may have its number."""
    with suppress(psutil.Error):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False
