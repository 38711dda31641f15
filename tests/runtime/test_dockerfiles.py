"""Every template's syntax, checked by the daemon itself up to the point where a remote image is needed."""

from __future__ import annotations

import io
from collections.abc import Iterator

import docker
import pytest
from docker.errors import APIError

from orchestrator.render import render
from orchestrator.runtime.daemon import Daemon
from tests.goldens import CASES

pytestmark = pytest.mark.docker

NOWHERE = "127.0.0.1:9/levelbench/no-such:base"  # no registry listens there
FILES = {case.stem: render(case.backend.image(case.build), base=NOWHERE) for case in CASES}


@pytest.fixture(scope="module")
def client() -> Iterator[docker.DockerClient]:
    found = Daemon().client()
    yield found
    found.close()


def complaint(client: docker.DockerClient, dockerfile: str) -> str:
    """What the daemon says against it."""
    try:
        events = list(client.api.build(fileobj=io.BytesIO(dockerfile.encode()), decode=True, rm=True))
    except APIError as error:
        return str(error.explanation)
    return next((str(event["error"]) for event in events if "error" in event), "")


@pytest.mark.parametrize("stem", FILES)
def test_only_the_base_is_missing(client: docker.DockerClient, stem: str) -> None:
    """The whole file is parsed before its first image is asked for."""
    assert "127.0.0.1:9" in complaint(client, FILES[stem])


@pytest.mark.parametrize(
    "fault", ["RUNN true", "COPY alone", "ENV LONELY", "COPY --form=x a b", "EXPOSE", "USER"]
)
@pytest.mark.parametrize("stem", list(FILES)[:1])
def test_a_fault_at_the_end_is_seen(client: docker.DockerClient, stem: str, fault: str) -> None:
    """The control: a broken last line is complained of, not the base."""
    said = complaint(client, f"{FILES[stem]}\n{fault}\n")

    assert "127.0.0.1:9" not in said
    assert fault.split(maxsplit=1)[0] in said or "flag" in said
