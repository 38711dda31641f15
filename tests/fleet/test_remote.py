"""Another host over a real sshd: what is asked, held, copied and forwarded there."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from orchestrator.console import Console
from orchestrator.errors import HostError, RequestError
from orchestrator.fleet import remote, shipping
from orchestrator.runtime import ssh
from orchestrator.runtime.command import CommandError
from orchestrator.runtime.daemon import Daemon
from orchestrator.runtime.docker import DockerRuntime
from tests.fleet.sshd import NAME, missing, sshd

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.skipif(bool(missing()), reason=f"not installed: {', '.join(missing())}"),
]


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    with sshd(tmp_path / "ssh") as found:
        yield found


def test_a_command_is_asked_with_its_words_as_they_are(home: Path) -> None:
    assert "a b\n$HOME\n'\n" == ssh.asked(NAME, ("printf", "%s\n", "a b", "$HOME", "'"))


def test_a_command_that_fails_is_no_unreachable_host(home: Path) -> None:
    with pytest.raises(CommandError) as caught:
        ssh.asked(NAME, ("sh", "-c", "echo no >&2; exit 3"))
    assert (3, "no") == (caught.value.exit_code, caught.value.tail)


def test_a_host_that_is_not_there_is_told_with_the_next_step(home: Path) -> None:
    with pytest.raises(HostError, match=r"cannot reach nowhere\.invalid") as caught:
        ssh.asked("nowhere.invalid", ("true",))
    assert "ssh nowhere.invalid true" in caught.value.hint


@pytest.mark.parametrize("name", ["", "-oProxyCommand=touch /tmp/owned", "two words"])
def test_a_host_cannot_be_an_option(name: str) -> None:
    with pytest.raises(RequestError, match="is no host"):
        ssh.checked(name)


def test_a_held_command_ends_in_order_when_it_is_let_go(home: Path, tmp_path: Path) -> None:
    """It gets SIGTERM, has the time that it takes, and its exit code comes back."""
    held = ssh.Held(NAME, (sys.executable, "-c", _slow(tmp_path)))
    _wait_for(tmp_path / "up")
    held.let_go()

    assert 7 == held.wait()
    assert "torn down" == (tmp_path / "said").read_text()


def test_a_held_command_ends_in_order_when_the_line_breaks(home: Path, tmp_path: Path) -> None:
    held = ssh.Held(NAME, (sys.executable, "-c", _slow(tmp_path)))
    _wait_for(tmp_path / "up")
    held._process.kill()
    held.wait()

    _wait_for(tmp_path / "said")


def test_a_bench_on_another_host_is_brought_back(home: Path, tmp_path: Path) -> None:
    """The checkout goes there, is installed there, runs there, and its run folder is the latest one here. The
    other side's levelbench is a script: its own tests know what it does."""
    root = _checkout(
        tmp_path / "root", "mkdir -p $2/run-1; touch $2/run-1/run.json; echo measured $3 $4; exit 4"
    )
    code = remote.run(NAME, root, tmp_path / "runs", ("bench", "--users=1"), Console())

    assert 4 == code
    assert (tmp_path / "runs" / "run-1" / "run.json").exists()
    assert "run-1" == os.readlink(tmp_path / "runs" / "latest")  # noqa: PTH115
    assert (home / shipping.HOME / shipping.CHECKOUT / "Makefile").exists()


def test_an_interrupt_waits_for_the_teardown_there(home: Path, tmp_path: Path) -> None:
    root = _checkout(tmp_path / "root", f"exec {sys.executable} -c '{_slow(tmp_path)}'")
    signal.signal(
        signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGINT) if _up(tmp_path) else _again()
    )
    _again()
    try:
        code = remote.run(NAME, root, tmp_path / "runs", ("bench",), Console())
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)

    assert 7 == code
    assert "torn down" == (tmp_path / "said").read_text()


def test_what_cannot_be_installed_there_is_told(home: Path, tmp_path: Path) -> None:
    root = _checkout(tmp_path / "root", "true")
    (root / "Makefile").write_text(".venv/.ready:\n\t@echo no venv module >&2; exit 1\n")

    with pytest.raises(HostError, match="no venv module"):
        remote.run(NAME, root, tmp_path / "runs", ("bench",), Console())


def test_a_docker_socket_that_is_not_there_is_told(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssh, "REACH_S", 5.0)
    with pytest.raises(HostError, match=r"cannot reach Docker on nowhere\.invalid"):
        with ssh.forwarded_docker("nowhere.invalid"):
            pass


def _slow(folder: Path) -> str:
    """A program that takes its time to end."""
    return (
        "import pathlib, signal, sys, time\n"
        "def end(*_):\n"
        "    time.sleep(1)\n"
        f'    pathlib.Path("{folder}/said").write_text("torn down")\n'
        "    sys.exit(7)\n"
        "signal.signal(signal.SIGTERM, end)\n"
        f'pathlib.Path("{folder}/up").touch()\n'
        "time.sleep(60)\n"
    )


def _checkout(root: Path, script: str) -> Path:
    """A checkout whose install makes a command out of that script."""
    root.mkdir()
    (root / "pyproject.toml").touch()
    (root / "levelbench.sh").write_text(f"#!/bin/sh\n{script}\n")
    recipe = "mkdir -p .venv/bin && cp levelbench.sh .venv/bin/levelbench && chmod +x .venv/bin/levelbench"
    (root / "Makefile").write_text(f".venv/.ready:\n\t{recipe}\n\ttouch $@\n")
    return root


def _wait_for(path: Path) -> None:
    until = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < until, f"{path.name} did not come"
        time.sleep(0.05)


def _up(folder: Path) -> bool:
    return (folder / "up").exists()


def _again() -> None:
    signal.setitimer(signal.ITIMER_REAL, 0.3)


@pytest.mark.docker
def test_a_daemon_on_another_host_is_reached_through_a_forwarded_socket(home: Path) -> None:
    """Any number of connections, one ssh, and none left when the client is closed."""
    client = Daemon(f"ssh://{NAME}").client()
    try:
        with ThreadPoolExecutor(12) as pool:
            seen = {version["Version"] for version in pool.map(lambda _: client.version(), range(24))}
    finally:
        client.close()

    assert 1 == len(seen)
    assert [] == [p for p in psutil.Process().children() if p.name() == "ssh" and p.status() != "zombie"]


def test_an_engine_is_never_measured_through_a_line(home: Path, tmp_path: Path) -> None:
    """Client and telemetry would be on the wrong host; the way to do it is named."""
    with pytest.raises(HostError, match="on another host") as caught:
        DockerRuntime(Daemon(f"ssh://{NAME}"), tmp_path, {}).client  # noqa: B018 - a property that connects
    assert "HOST=" in caught.value.hint
