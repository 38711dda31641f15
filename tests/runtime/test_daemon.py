"""orchestrator/runtime/daemon.py: which daemon is meant, and what is said when it does not answer."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import requests
from docker.errors import APIError, DockerException

from orchestrator.errors import HostError, RequestError
from orchestrator.runtime import daemon
from orchestrator.runtime.daemon import Daemon, patiently, translated


@pytest.fixture
def config_dir(tmp_path: Path) -> Path:
    """Docker's own store with two contexts, `far` being the current one, and one broken file."""
    hosts = {"far": "ssh://far.example", "near": "unix:///run/near.sock"}
    for name, host in hosts.items():
        meta = {"Name": name, "Endpoints": {"docker": {"Host": host}}}
        folder = tmp_path / "contexts" / "meta" / name
        folder.mkdir(parents=True)
        (folder / "meta.json").write_text(json.dumps(meta))
    broken = tmp_path / "contexts" / "meta" / "broken"
    broken.mkdir()
    (broken / "meta.json").write_text("{")
    (tmp_path / "config.json").write_text('{"currentContext": "far"}')
    return tmp_path


def test_docker_host_outranks_every_context(config_dir: Path) -> None:
    """As with docker's own command."""
    assert "tcp://127.0.0.1:1" == Daemon("tcp://127.0.0.1:1", "near", config_dir).address


def test_a_context_that_was_named_outranks_the_current_one(config_dir: Path) -> None:
    """Named means meant."""
    assert "unix:///run/near.sock" == Daemon(context="near", config_dir=config_dir).address
    assert daemon.LOCAL_SOCKET == Daemon(context="default", config_dir=config_dir).address


def test_the_current_context_is_dockers(config_dir: Path) -> None:
    """What `docker context use` chose."""
    assert "ssh://far.example" == Daemon(config_dir=config_dir).address


@pytest.mark.parametrize("text", [None, "[]", "{}", '{"currentContext": ""}'])
def test_without_a_choice_it_is_the_local_socket(tmp_path: Path, text: str | None) -> None:
    """Also where the file is absent or no configuration at all."""
    if text is not None:
        (tmp_path / "config.json").write_text(text)

    assert daemon.LOCAL_SOCKET == Daemon(config_dir=tmp_path).address


@pytest.mark.parametrize("text", ["", '{"currentContext": "far"'])
def test_a_torn_configuration_never_means_the_local_daemon(tmp_path: Path, text: str) -> None:
    """It may have named another one."""
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(RequestError, match="which Docker daemon is meant"):
        _ = Daemon(config_dir=tmp_path).address


def test_an_unknown_context_is_never_replaced(config_dir: Path) -> None:
    """A run meant for one host must not start on another; the known ones are named."""
    with pytest.raises(RequestError, match=r"unknown Docker context 'nera'. Did you mean 'near'\?") as caught:
        _ = Daemon(context="nera", config_dir=config_dir).address

    assert "known: default, far, near" == caught.value.hint


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("unix:///run/x.sock", True),
        ("tcp://127.0.0.1:2375", True),
        ("tcp://localhost:2375", True),
        ("tcp://10.0.0.1:2375", False),
        ("ssh://far.example", False),
    ],
)
def test_local_is_what_shares_this_hosts_networks(host: str, local: bool) -> None:
    """Containers' own addresses are reached from their host only."""
    assert local is Daemon(host).is_local


def test_no_daemon_says_where_and_what_to_do(tmp_path: Path) -> None:
    """The address is in the message, the ways out are in the hint."""
    with pytest.raises(HostError, match=f"no Docker daemon answers at unix://{tmp_path}/no") as caught:
        Daemon(f"unix://{tmp_path}/no").client()

    assert "RUNTIME=process" in caught.value.hint


def test_an_address_that_is_none(tmp_path: Path) -> None:
    """A typing error in DOCKER_HOST is told like an absent daemon."""
    with pytest.raises(HostError, match="no Docker daemon answers at what"):
        Daemon("what://ever").client()


@contextmanager
def answering(path: Path, body: str) -> Iterator[str]:
    """A daemon of one answer."""
    text = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}".encode()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection, suppress(OSError):  # a knock hangs up at once
                    if connection.recv(65536):
                        connection.sendall(text)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"unix://{path}"
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join(5)


def test_version_and_runtimes_are_the_daemons(tmp_path: Path) -> None:
    """Both are asked with a connection of their own, which is closed again."""
    body = '{"Version": "27.1", "ApiVersion": "1.44", "Runtimes": {"runc": {}, "nvidia": {}}}'
    with answering(tmp_path / "sock", body) as host:
        assert "27.1" == Daemon(host).version()
        assert ("runc", "nvidia") == Daemon(host).runtimes()


def response(status: int) -> requests.Response:
    answer = requests.Response()
    answer.status_code = status
    return answer


@pytest.mark.parametrize(
    ("error", "said", "hint"),
    [
        (APIError("x", response(500), "first line\nsecond"), "first line", daemon.REFUSED),
        (APIError("x", response(409), ""), "409 Client Error", daemon.REFUSED),
        (DockerException("no docker"), "no docker", daemon.SILENT),
        (requests.exceptions.ReadTimeout(""), "ReadTimeout", daemon.SILENT),
        (PermissionError(13, "Permission denied"), "Permission denied", daemon.SILENT),
    ],
)
def test_foreign_errors_are_translated(error: Exception, said: str, hint: str) -> None:
    """One line of what was being done and what was said; a daemon that answers is not told to be started."""
    with pytest.raises(HostError, match=f"doing: .*{said}") as caught, translated("doing"):
        raise error

    assert 1 == len(str(caught.value).splitlines())
    assert hint == caught.value.hint


def test_a_daemon_that_is_being_restarted_is_asked_again() -> None:
    """What it says once it is back is its answer; in between there is a pause each time."""
    gone = requests.exceptions.ConnectionError("gone")
    answers: list[Exception | str] = [gone, gone, "back"]
    waits = []

    def ask() -> str:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert "back" == patiently("asked", ask, lambda: waits.append(1))
    assert 2 == len(waits)


def test_a_daemon_that_does_not_come_back_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what was being done; and one that answers with an error has answered."""
    monkeypatch.setattr(daemon, "AWAY_S", -1.0)

    def gone() -> str:
        raise requests.exceptions.ConnectionError("gone")

    def refused() -> str:
        raise APIError("no")

    for ask in (gone, refused):
        with pytest.raises(HostError, match="could not look: "):
            patiently("could not look", ask, lambda: pytest.fail("it was asked again"))
