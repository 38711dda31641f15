"""dockerd is restarted while a load runs. It is a daemon of this test's own: whoever else uses one is left alone."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import docker
import pytest

from backends.contract import FailureCause
from orchestrator.domain.provenance import Image
from orchestrator.domain.result import Phase
from orchestrator.errors import HostError
from orchestrator.runtime.daemon import Daemon
from tests.chaos.conftest import Nights
from tests.chaos.night import AWAY, LIVE, Happening, Night
from tests.runtime.made import DOCKER_REQUIRED, wait_for

START_S = 60.0
SETTINGS = ("--iptables=false", "--ip-masq=false", "--ip-forward=false")


@dataclass
class OwnDaemon:
    """A dockerd with a socket and folders of its own, below a short path: sockets have no long ones. In a network
    namespace too: a second daemon removes the bridge of the first."""

    folder: Path
    within: tuple[str, ...]
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"unix://{self.folder}/socket"

    def start(self, *settings: str) -> None:
        names = ("data-root", "exec-root", "pidfile")
        places = [word for name in names for word in (f"--{name}", str(self.folder / name))]
        with (self.folder / "log").open("ab") as log:
            argv = [*self.within, "dockerd", *places, "--host", self.address, *SETTINGS, *settings]
            self.running.append(subprocess.Popen(argv, stdout=log, stderr=log, start_new_session=True))
        wait_for(self._answers, START_S)

    def stop(self) -> None:
        """As its service would be: SIGTERM, and until it has ended."""
        daemon = self.running.pop()
        daemon.send_signal(signal.SIGTERM)
        daemon.wait(START_S)

    def load(self, image: Image) -> None:
        theirs, ours = docker.from_env(), docker.DockerClient(self.address)
        try:
            ours.images.load(theirs.images.get(image.digest).save())
        finally:
            theirs.close()
            ours.close()

    def _answers(self) -> bool:
        assert self.running[-1].poll() is None, (self.folder / "log").read_text()[-2000:]
        with suppress(HostError):
            return bool(Daemon(self.address).version())
        return False


@pytest.fixture(scope="module")
def own_daemon(chaos_image: Image) -> Iterator[OwnDaemon]:
    if os.geteuid() != 0 and not DOCKER_REQUIRED:
        pytest.skip("only root may start a Docker daemon")
    with (
        network() as within,
        TemporaryDirectory(prefix="lb-dockerd-", ignore_cleanup_errors=True) as folder,
    ):
        daemon = OwnDaemon(Path(folder), within)
        daemon.start()
        daemon.load(chaos_image)
        try:
            yield daemon
        finally:
            for _ in list(daemon.running):
                daemon.stop()


@contextmanager
def network() -> Iterator[tuple[str, ...]]:
    """A network namespace; gives the words that run a command in it."""
    inside = "ip link set lo up && echo up && exec sleep 100000"
    with subprocess.Popen(("unshare", "--net", "sh", "-c", inside), stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout is not None
            assert b"up\n" == holder.stdout.readline()
            yield ("nsenter", f"--net=/proc/{holder.pid}/ns/net")
        finally:
            holder.kill()


@pytest.fixture
def night_on_it(own_daemon: OwnDaemon, nights: Nights, tmp_path: Path) -> Night:
    night = nights(tmp_path)
    night.environment = {"DOCKER_HOST": own_daemon.address}
    night.within = own_daemon.within
    return night


def test_a_restarted_daemon_costs_the_cell_that_ran(own_daemon: OwnDaemon, night_on_it: Night) -> None:
    """It takes its containers with it: the cell failed by that name, the next engine is measured, and nothing is
    left; what failed can be measured again."""
    night_on_it.write(("one", "two"), duration_s=2.5)
    with night_on_it.held(Happening(event=LIVE), also=(Happening(event=AWAY, hold=True),)) as held:
        own_daemon.stop()
        held.let_go()
        held.read_until("held")
        own_daemon.start()
        held.let_go()
        ended = held.end()

    assert 4 == ended.code, ended.output
    failures = [r.failure for r in night_on_it.results() if r.failure is not None]
    assert [(Phase.MEASURE, FailureCause.KILLED)] == [(f.phase, f.cause) for f in failures]
    assert "the Docker daemon was restarted" in failures[0].message
    before = {
        n: d for n, d in night_on_it.sealed().items() if b'"failure": null' in d or b'"failure"' not in d
    }
    assert 1 == len(before)
    night_on_it.require_nothing_left()
    night_on_it.require_intact(before)

    again = night_on_it.run("resume", night_on_it.run_folder.id, "--only-failed")
    assert 0 == again.code, again.output
    night_on_it.require_nothing_left()
    night_on_it.require_intact(before)
    night_on_it.require_whole(2)


def test_a_daemon_that_leaves_its_containers_alone_costs_nothing(
    own_daemon: OwnDaemon, night_on_it: Night
) -> None:
    """With live-restore the engine outlives it: the load goes on, and the engine is taken down all the same."""
    own_daemon.stop()
    own_daemon.start("--live-restore")
    night_on_it.write(("one",), duration_s=2.5)
    with night_on_it.held(Happening(event=LIVE), also=(Happening(event=AWAY, hold=True),)) as held:
        own_daemon.stop()
        held.let_go()
        held.read_until("held")
        own_daemon.start("--live-restore")
        held.let_go()
        ended = held.end()

    assert 0 == ended.code, ended.output
    night_on_it.require_nothing_left()
    night_on_it.require_intact(night_on_it.sealed())
    night_on_it.require_whole(1)
