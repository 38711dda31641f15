"""A real Slurm in a folder: munge, one controller, three hosts with a made-up GPU each, on free ports."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "sinfo")
HOSTS = ("gpu1", "gpu2", "gpu3")

CONFIG = """
ClusterName=levelbench
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={control_port}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/s,cred_expire=5
SlurmUser={user}
SlurmdUser={user}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n.log
SlurmdTimeout=10
SlurmctldTimeout=10
KillWait=30
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters={select}
GresTypes=gpu
ReturnToService=2
MinJobAge={remembered_s}
SchedulerParameters=sched_interval=2,sched_min_interval=100000
{nodes}
PartitionName=gpu Nodes=gpu1,gpu2,gpu3 Default=YES OverSubscribe=EXCLUSIVE
PartitionName=shared Nodes=gpu1,gpu2,gpu3 OverSubscribe=FORCE:4
"""


def missing() -> list[str]:
    """The programs that are not installed here."""
    return [name for name in PROGRAMS if shutil.which(name) is None]


@dataclass
class Cluster:
    """Running daemons. A "host" is a slurmd of its own name on this machine."""

    folder: Path
    daemons: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def config(self) -> Path:
        return self.folder / "slurm.conf"

    def start_controller(self) -> None:
        self._start("slurmctld", "slurmctld", "-D", "-f", str(self.config))

    def start_host(self, name: str) -> None:
        self._start(name, "slurmd", "-D", "-N", name, "-f", str(self.config))

    def kill_controller(self) -> None:
        self._kill("slurmctld")

    def power_off(self, name: str) -> None:
        """The host and everything on it, at once: its daemon, the step daemons and their processes."""
        self._kill(name)
        for pid in _running_on(name):
            with _whatever():
                os.kill(pid, signal.SIGKILL)

    def freeze(self, name: str) -> None:
        """Unreachable, but what runs on it runs on: one side of a network split."""
        self.daemons[name].send_signal(signal.SIGSTOP)

    def thaw(self, name: str) -> None:
        self.daemons[name].send_signal(signal.SIGCONT)

    def run(self, *argv: str) -> str:
        return subprocess.run(argv, check=True, capture_output=True, text=True, timeout=60).stdout

    def wait_for(self, what: Callable[[], bool], seconds: float = 60) -> None:
        """Until it holds; what the queue looked like if it never does."""
        until = time.monotonic() + seconds
        while not what():
            if time.monotonic() > until:
                said = self.run("squeue", "--states=all"), self.run("sinfo", "-N", "-l")
                raise AssertionError("it did not come to pass:\n" + "\n".join(said))
            time.sleep(0.2)

    def stop(self) -> None:
        for name in list(self.daemons):
            with _whatever():
                self.thaw(name)
        for name in HOSTS:
            if name in self.daemons:
                self.power_off(name)
        for name in list(self.daemons):
            self._kill(name)

    def _start(self, name: str, *argv: str) -> None:
        with (self.folder / f"{name}.out").open("ab") as log:
            self.daemons[name] = subprocess.Popen(argv, stdout=log, stderr=log, start_new_session=True)

    def _kill(self, name: str) -> None:
        daemon = self.daemons.pop(name)
        daemon.kill()
        daemon.wait(10)


@contextmanager
def cluster(folder: Path, *, remembered_s: int = 3600, select: str = "CR_Core_Memory") -> Iterator[Cluster]:
    """A cluster whose hosts are idle, and `SLURM_CONF` set to it. Jobs that ended are remembered for so long; `select`
    is what Slurm counts as taken."""
    made = Cluster(folder)
    _configure(made, remembered_s, select)
    before = os.environ.get("SLURM_CONF")
    os.environ["SLURM_CONF"] = str(made.config)
    try:
        _start_munge(made)
        made.start_controller()
        for name in HOSTS:
            made.start_host(name)
        made.wait_for(lambda: _idle() == len(HOSTS))
        yield made
    finally:
        made.stop()
        os.environ.pop("SLURM_CONF")
        if before is not None:
            os.environ["SLURM_CONF"] = before


def _configure(made: Cluster, remembered_s: int, select: str) -> None:
    folder = made.folder
    for name in ("munge", "state", *(f"spool-{host}" for host in HOSTS)):
        (folder / name).mkdir(mode=0o700, parents=True)
    host = socket.gethostname().partition(".")[0]
    ports = _free_ports(len(HOSTS) + 1)
    nodes = "\n".join(
        f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=8 RealMemory=8000 Gres=gpu:a100:1"
        for name, port in zip(HOSTS, ports[1:], strict=True)
    )
    made.config.write_text(
        CONFIG.format(
            folder=folder,
            host=host,
            user=getpass.getuser(),
            control_port=ports[0],
            nodes=nodes,
            remembered_s=remembered_s,
            select=select,
        )
    )
    # a gres named gpu must name device files, or its host is drained
    (folder / "gres.conf").write_text(f"NodeName={','.join(HOSTS)} Name=gpu Type=a100 File=/dev/null\n")


def _start_munge(made: Cluster) -> None:
    folder = made.folder / "munge"
    key = folder / "key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    made._start(
        "munged",
        "munged",
        "--foreground",
        "--force",
        f"--key-file={key}",
        f"--socket={folder}/s",
        f"--pid-file={folder}/pid",
        f"--log-file={folder}/log",
        f"--seed-file={folder}/seed",
    )
    until = time.monotonic() + 20
    while not (folder / "s").exists() and time.monotonic() < until:
        time.sleep(0.05)


def _idle() -> int:
    done = subprocess.run(
        ("sinfo", "-h", "-N", "-p", "gpu", "-o", "%T"), capture_output=True, text=True, check=False
    )
    return done.stdout.split().count("idle")


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _running_on(name: str) -> set[int]:
    """What jobs started on a host, known by their environment, and the step daemons over them."""
    found: set[int] = set()
    for entry in Path("/proc").glob("[0-9]*"):
        with _whatever():
            if f"SLURMD_NODENAME={name}".encode() in (entry / "environ").read_bytes().split(b"\0"):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                found |= {int(entry.name)} | ({parent} if _is_step(parent) else set())
    return found


def _is_step(pid: int) -> bool:
    with _whatever():
        return "slurmstepd" in Path(f"/proc/{pid}/comm").read_text()
    return False


@contextmanager
def _whatever() -> Iterator[None]:
    """A process may have ended while it was looked at."""
    try:
        yield
    except (OSError, ValueError):
        return
