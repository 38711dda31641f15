"""orchestrator/runtime/images.py without a daemon: the key, the context, and what is pulled. The rest is in
test_docker.py, against a real one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import docker
import pytest
import requests
from docker.errors import APIError, ImageNotFound

from backends.contract import Build, FailureCause, ImageSpec, SiteFile
from orchestrator.errors import BenchError, CellError, HostError
from orchestrator.runtime import images
from tests.runtime import made

SITE_FILE = SiteFile(path="a.dist-info/METADATA", text="Name: a\n", reason="tests")


class Daemon:
    """One that has no image, and refuses to pull with the error that it is given, if any."""

    def __init__(self, error: Exception | None = None) -> None:
        self.images = self
        self.error = error
        self.pulled: list[str] = []

    def get(self, name: str) -> str:
        if name not in self.pulled:
            raise ImageNotFound(name)
        return name

    def pull(self, name: str) -> None:
        if self.error is not None:
            raise self.error
        self.pulled.append(name)


@pytest.fixture
def full_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Build:
    """With a lock, a program beside the engine and a site file."""
    (tmp_path / "context").mkdir()
    (tmp_path / "context" / "server.py").write_text("serve()\n")
    monkeypatch.setattr(images, "FOLDER", tmp_path)
    lock = made.lock(monkeypatch, tmp_path / "locks", "a==1\n")
    return made.build(packages=(lock,), context=("server.py",), site_files=(SITE_FILE,))


def key(build: Build, dockerfile: str = "FROM x\n", base_id: str = "sha256:1") -> str:
    return images.content_key(made.image_spec(build), dockerfile, base_id)


def test_the_key_is_that_of_the_content(full_build: Build) -> None:
    """Twelve characters, the same for the same."""
    assert 12 == len(key(full_build))
    assert key(full_build) == key(full_build)


def test_the_key_changes_with_each_input(
    full_build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dockerfile, base, site files, programs and locks: an image that would differ has another name."""
    other_site = SITE_FILE.model_copy(update={"text": "Name: b\n"})
    found = [
        key(full_build),
        key(full_build, dockerfile="FROM y\n"),
        key(full_build, base_id="sha256:2"),
        key(full_build.model_copy(update={"site_files": (other_site,)})),
    ]
    (tmp_path / "context" / "server.py").write_text("serve(2)\n")
    found.append(key(full_build))
    made.lock(monkeypatch, tmp_path / "locks", "a==2\n")
    found.append(key(full_build))

    assert 6 == len(set(found))


def test_the_context_holds_what_the_dockerfile_copies(full_build: Build, tmp_path: Path) -> None:
    """And wheels are linked, not copied: they may be gigabytes."""
    wheels, folder = tmp_path / "wheels", tmp_path / "build"
    for path in (wheels, folder):
        path.mkdir()
    (wheels / "a.whl").write_text("wheel")

    images._fill(folder, made.image_spec(full_build), "FROM x\n", {"wheels": wheels})

    files = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    assert {"Dockerfile", "files/server.py", f"site/{SITE_FILE.path}", "wheels/a.whl"} == files
    assert (wheels / "a.whl").samefile(folder / "wheels" / "a.whl")


def test_a_full_disk_is_the_hosts_fault(full_build: Build, tmp_path: Path) -> None:
    """Not the cell's, and not the daemon's."""
    with pytest.raises(HostError, match="the build's files could not be put together"):
        images._fill(
            tmp_path / "x", made.image_spec(full_build), "FROM x\n", {"wheels": tmp_path / "no-wheels"}
        )


def test_a_base_is_pulled_once() -> None:
    """Nothing is missing then, and the second look finds it."""
    daemon = Daemon()

    assert images.base_missing(daemon, "debian:1", pull=True) is None
    assert images.base_missing(daemon, "debian:1", pull=True) is None
    assert ["debian:1"] == daemon.pulled


def test_a_plan_pulls_nothing() -> None:
    """It touches nothing, so it cannot know."""
    daemon = Daemon()

    assert images.base_missing(daemon, "debian:1", pull=False) is None
    assert [] == daemon.pulled


def test_a_base_that_cannot_be_pulled_is_told_in_one_line() -> None:
    """With the registry's own words."""
    daemon = Daemon(APIError("x", requests.Response(), "no route to host\nmore"))

    assert "debian:1 is not here and cannot be pulled: no route to host" == images.base_missing(
        daemon, "debian:1", pull=True
    )


def test_a_daemon_that_dies_over_a_pull_is_the_hosts_fault() -> None:
    """It is no statement about the image."""
    with pytest.raises(HostError, match="could not look for an image: gone"):
        images.base_missing(Daemon(requests.ConnectionError("gone")), "debian:1", pull=True)


def test_a_pull_that_fills_the_disk_is_the_hosts_fault() -> None:
    """The next pull would end the same way."""
    full = APIError("x", requests.Response(), "write /var/lib/docker/x: no space left on device")
    with pytest.raises(HostError, match="filled the daemon's disk") as caught:
        images.base_missing(Daemon(full), "debian:1", pull=True)
    assert "docker system df" in caught.value.hint


@pytest.mark.parametrize(
    ("said", "kind"),
    [("write /x: no space left on device", HostError), ("RUN pip returned a non-zero code: 1", CellError)],
)
def test_a_build_that_fails_says_why(said: str, kind: type[BenchError], tmp_path: Path) -> None:
    """A full disk ends the night, a mistake in the image only this engine's cells."""

    class Builder:
        def build(self, **_: object) -> Iterator[dict[str, str]]:
            yield {"stream": "Step 1/2"}
            yield {"error": said}

    client = cast("docker.DockerClient", SimpleNamespace(api=Builder()))
    with pytest.raises(kind) as caught:
        images._build(client, str(tmp_path), "t", made.image_spec(), lambda _: None)
    if isinstance(caught.value, CellError):
        assert FailureCause.IMAGE_BUILD is caught.value.cause


def layered(the_build: Build, layer: Build) -> ImageSpec:
    return made.image_spec(the_build).model_copy(update={"layer": made.image_spec(layer)})


def test_the_key_changes_with_a_serving_layer(full_build: Build) -> None:
    """That there is one, and what is in it."""
    other = full_build.model_copy(update={"context": ()})
    specs = [made.image_spec(full_build), layered(full_build, full_build), layered(full_build, other)]

    assert 3 == len({images.content_key(spec, "FROM x\n", "sha256:1") for spec in specs})


def test_the_context_holds_a_serving_layers_own(full_build: Build, tmp_path: Path) -> None:
    """Apart from the engine's: its programs, its wheels, and its lock, by which pip picks among them."""
    folder = tmp_path / "build"
    for name in ("of-engine", "of-layer"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.whl").write_text("wheel")
    folder.mkdir()
    wheels = {"wheels": tmp_path / "of-engine", "serving/wheels": tmp_path / "of-layer"}

    images._fill(folder, layered(made.build(), full_build), "FROM x\n", wheels)

    files = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    mine = {"serving/files/server.py", "serving/lock.txt", "serving/wheels/of-layer.whl"}
    assert {"Dockerfile", "wheels/of-engine.whl", *mine} == files
    assert "a==1\n" == (folder / "serving/lock.txt").read_text()
