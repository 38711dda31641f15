"""The Epilog that admins may give to Slurm, against a real daemon: what dead jobs left goes, all else stays."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
from docker.models.containers import Container

from orchestrator.runtime import owner
from tests.test_end_to_end import BASE

EPILOG = Path(owner.__file__).parents[1] / "fleet" / "epilog.sh"
GONE = 4_000_000  # above the kernel's highest process number on any host with the default, and free on others
pytestmark = [pytest.mark.docker, pytest.mark.timeout(120)]


@pytest.fixture
def client() -> Iterator[docker.DockerClient]:
    found = docker.from_env()
    yield found
    found.close()


def labels(**changed: str) -> dict[str, str]:
    """Those of this process, but for what is named."""
    names = {"boot": owner.BOOT, "namespace": owner.NAMESPACE, "pid": owner.PID, "start": owner.START}
    return owner.labels("epilog-test") | {names[key]: value for key, value in changed.items()}


STAYS = {
    "of a process that lives": {},
    "of another PID namespace": {"namespace": "pid:[1]", "pid": str(GONE)},
    "with a label missing": {"pid": ""},
    "with words in a label": {"pid": "1 2"},
}
GOES = {
    "of a process that is gone": {"pid": str(GONE)},
    "of another boot": {"boot": "another"},
    "of a process whose number was taken by a later one": {"start": "1"},
}


@pytest.mark.parametrize("case", [*STAYS, *GOES])
def test_what_it_removes_is_what_the_worker_would_remove(client: docker.DockerClient, case: str) -> None:
    """Container and network alike; `owner.is_dead` is the rule, and the script does as it says."""
    found = labels(**(STAYS | GOES)[case])
    container = client.containers.create(BASE, ["true"], labels=found)
    network = client.networks.create(f"levelbench-epilog-{os.getpid()}", labels=found, internal=True)
    try:
        done = subprocess.run([EPILOG], env={}, capture_output=True, text=True, check=True, timeout=60)
        left = bool(client.containers.list(all=True, filters={"id": container.id}))
        net_left = bool(client.networks.list(filters={"id": network.id}))
    finally:
        for thing in (container, network):
            _remove(thing)

    assert (case in STAYS) == left == net_left, done
    assert owner.is_dead(found) == (case in GOES)
    assert (container.short_id in done.stdout) == (case in GOES)


def test_what_is_not_ours_stays(client: docker.DockerClient) -> None:
    container = client.containers.create(BASE, ["true"], labels=labels(pid=str(GONE)) | {owner.OURS: "0"})
    try:
        subprocess.run([EPILOG], env={}, check=True, timeout=60)
        assert client.containers.list(all=True, filters={"id": container.id})
    finally:
        container.remove()


def _remove(thing: Container) -> None:
    try:
        thing.remove()
    except docker.errors.NotFound:
        return
