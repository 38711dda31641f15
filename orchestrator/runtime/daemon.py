"""Which Docker daemon to talk to, and talking to it: the one border where docker's errors are translated."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import requests.exceptions
from docker.errors import APIError, DockerException

from orchestrator.errors import HostError, RequestError, unknown
from orchestrator.runtime import ssh

DEFAULT_CONTEXT = "default"
SSH = "ssh://"
LOCAL_SOCKET = "unix:///var/run/docker.sock"
TIMEOUT_S = 60
SILENT = "start it (systemctl start docker), join the docker group, or use RUNTIME=process"
REFUSED = "see why in the daemon's log (journalctl -u docker), or use RUNTIME=process"


@dataclass(frozen=True, slots=True)
class Daemon:
    """How the daemon was named: DOCKER_HOST outranks the context, the context outranks docker's config."""

    host: str | None = None
    context: str | None = None
    config_dir: Path = Path("~/.docker")

    @property
    def address(self) -> str:
        """Where it listens. RequestError for an unknown context: never the local daemon instead."""
        if self.host:
            return self.host
        name = self.context or self._current_context()
        if name == DEFAULT_CONTEXT:
            return LOCAL_SOCKET
        known = self._contexts()
        if name not in known:
            raise unknown("Docker context", name, [DEFAULT_CONTEXT, *known])
        return known[name]

    @property
    def is_local(self) -> bool:
        """Whether containers' own addresses can be reached from here."""
        return self.address.startswith(("unix://", "tcp://127.0.0.1", "tcp://localhost"))

    def client(self) -> docker.DockerClient:
        """A connected client. HostError with what to do when nothing answers."""
        with ExitStack() as line:
            here = self.address
            if here.startswith(SSH):
                here = line.enter_context(ssh.forwarded_docker(here))
            with translated(f"no Docker daemon answers at {self.address}"):
                _knock(here)
                client = _Client(base_url=here, timeout=TIMEOUT_S)
                try:
                    client.ping()
                except BaseException:
                    client.close()
                    raise
            client.line = line.pop_all()
        return client

    def version(self) -> str:
        with self._connected() as client:
            return str(client.version()["Version"])

    def runtimes(self) -> Sequence[str]:
        with self._connected() as client:
            return tuple(client.info().get("Runtimes", {}))

    @contextmanager
    def _connected(self) -> Iterator[docker.DockerClient]:
        client = self.client()
        try:
            with translated("the Docker daemon did not answer"):
                yield client
        finally:
            client.close()

    def _current_context(self) -> str:
        path = self.config_dir.expanduser() / "config.json"
        config = _read_json(path) if path.exists() else {}
        return str(config.get("currentContext") or DEFAULT_CONTEXT)

    def _contexts(self) -> dict[str, str]:
        """Context name -> address, from docker's own store; one that cannot be read is not known."""
        found = {}
        for path in sorted((self.config_dir.expanduser() / "contexts" / "meta").glob("*/meta.json")):
            meta = {}
            with suppress(RequestError):
                meta = _read_json(path)
            address = meta.get("Endpoints", {}).get("docker", {}).get("Host")
            if meta.get("Name") and address:
                found[str(meta["Name"])] = str(address)
        return found


class _Client(docker.DockerClient):  # type: ignore[misc]  # docker-py has no types
    """A client that lets go of the line that it was reached by."""

    line: ExitStack | None = None

    def close(self) -> None:
        super().close()
        if self.line is not None:
            self.line.close()


def _knock(address: str) -> None:
    """OSError where no socket answers: docker-py would say so too, but leave its own socket open."""
    scheme, _, path = address.partition("://")
    if scheme == "unix":
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(TIMEOUT_S)
            probe.connect(path)


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """docker's exceptions as HostError: what was being done, what the daemon said, what to do."""
    try:
        yield
    except (APIError, DockerException, requests.exceptions.RequestException, OSError) as error:
        raise HostError(f"{doing}: {said(error)}", hint=REFUSED if _answered(error) else SILENT) from error


def said(error: Exception) -> str:
    """The first line of what the daemon, or else the library, says."""
    text = str(error.explanation or error) if isinstance(error, APIError) else str(error)
    return next((line for line in text.splitlines() if line.strip()), type(error).__name__)


def _answered(error: Exception) -> bool:
    return isinstance(error, APIError) and error.response is not None


def _read_json(path: Path) -> dict[str, Any]:
    """RequestError for a file that cannot be read: it may name a daemon that is not the local one."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RequestError(
            f"{path}, which says which Docker daemon is meant, cannot be read: {error}",
            hint="mend it, or name the daemon with DOCKER_HOST or DOCKER_CONTEXT",
        ) from error
    return value if isinstance(value, dict) else {}
