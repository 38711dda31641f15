"""A container's output, copied into the engine's log by a thread of its own."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

import docker
from docker.errors import DockerException


@dataclass(frozen=True, slots=True)
class Following:
    """The thread that copies, and its connection: a followed log keeps one busy."""

    thread: Thread
    client: docker.DockerClient


def follow(client: docker.DockerClient, name: str, container_id: str, log_path: Path) -> Following:
    """Until the container ends."""
    thread = Thread(target=_copy, args=(client, container_id, log_path), name=f"log-{name}", daemon=True)
    thread.start()
    return Following(thread, client)


def _copy(client: docker.DockerClient, container_id: str, log_path: Path) -> None:
    """A log that cannot be written on costs the log, not the measurement.

    Docker 20.10 does not give a follower the last line where it has no end: it is asked for.
    """
    with suppress(DockerException, OSError), log_path.open("wb") as log:
        followed, piece = client.containers.get(container_id), b""
        for piece in followed.logs(stream=True, follow=True):
            log.write(piece)
            log.flush()
        rest = followed.logs(tail=1)
        if not rest.endswith(b"\n") and not piece.endswith(rest):
            log.write(rest)
