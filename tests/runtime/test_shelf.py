"""Images and venvs as things that take disk: which there are, when they were used, that they go."""

from __future__ import annotations

import io
import json
import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import docker
import pytest

from orchestrator.domain.shelf import Shelved
from orchestrator.host.locks import beside, file_lock
from orchestrator.runtime import owner, shelf, venvs
from orchestrator.runtime.docker import DockerRuntime
from orchestrator.runtime.process import ProcessRuntime
from tests.runtime import made
from tests.runtime.made import BASE, Bench

IMAGE: dict[str, Any] = {
    "Id": "sha256:1",
    "RepoTags": ["levelbench/vllm:1", "other:name"],
    "Labels": {"levelbench": "1", "levelbench.backend": "vllm", "levelbench.release": "2024-06"},
    "Size": 100,
    "SharedSize": 30,
    "Created": 1700000000,
}


class Daemon:
    """One that has these images."""

    def __init__(self, *images: dict[str, Any]) -> None:
        self._images = images

    def df(self) -> dict[str, Any]:
        return {"Images": list(self._images) or None}


def shelved(folder: Path, *images: dict[str, Any]) -> tuple[Shelved, ...]:
    return shelf.shelved(cast("docker.DockerClient", Daemon(*images)), folder)


def test_an_image_takes_what_its_removal_gives_back(tmp_path: Path) -> None:
    """Layers that it shares with its base stay; a daemon may not know (-1)."""
    (one,) = shelved(tmp_path, IMAGE)

    assert ("levelbench/vllm:1", "vllm-2024-06", 70) == (one.name, one.label, one.size_bytes)
    assert 100 == shelved(tmp_path, {**IMAGE, "SharedSize": -1})[0].size_bytes
    assert () == shelved(tmp_path)


@pytest.mark.parametrize(
    "stranger",
    [{"Labels": None}, {"Labels": {"other": "1"}}, {"Labels": {"levelbench": "2"}}, {"RepoTags": None}],
)
def test_strangers_are_never_touched(tmp_path: Path, stranger: dict[str, Any]) -> None:
    """Neither what has not our label, nor a stage of a build that is going on."""
    assert () == shelved(tmp_path, {**IMAGE, **stranger})


def test_last_use_is_noted(tmp_path: Path) -> None:
    """The daemon does not know it; an image that was never noted counts from its making."""
    before_s = time.time()
    assert 1700000000 == shelved(tmp_path, IMAGE)[0].used_s
    assert 1700000000 == shelved(tmp_path, {**IMAGE, "Created": "2023-11-14T22:13:20+00:00"})[0].used_s
    assert 0 == shelved(tmp_path, {**IMAGE, "Created": "long ago"})[0].used_s
    shelf.note(tmp_path, "sha256:1")
    shelf.note(tmp_path, "sha256:2")

    assert before_s <= shelved(tmp_path, IMAGE)[0].used_s <= time.time()
    assert {"sha256:1", "sha256:2"} == set(json.loads((tmp_path / shelf.FILE).read_text()))
    (tmp_path / shelf.FILE).write_text("{torn")
    assert 1700000000 == shelved(tmp_path, IMAGE)[0].used_s


@pytest.fixture
def label(docker_bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """One of this test alone, so that the images of this host's user stay."""
    name = f"levelbench-test-{uuid.uuid4().hex[:8]}"
    monkeypatch.setattr(owner, "OURS", name)
    monkeypatch.setattr(shelf, "OURS", name)
    client = cast("DockerRuntime", docker_bench.runtime).client
    yield name
    for image in client.images.list(filters={"label": f"{name}=1"}):
        client.images.remove(image.id, force=True)


def test_a_daemons_images_go(docker_bench: Bench, label: str) -> None:
    """Those of ours that no container uses; their base stays."""
    real = cast("DockerRuntime", docker_bench.runtime)
    for name in ("used", "unused"):
        text = f"FROM {BASE}\nLABEL {label}=1 {label}.backend=vllm {label}.release={name}\n"
        real.client.images.build(fileobj=io.BytesIO(text.encode()), tag=f"{label}:{name}", rm=True)
    container = real.client.containers.create(f"{label}:used", ["true"])
    try:
        found = {one.label: one for one in real.shelved()}
        assert {"vllm-used", "vllm-unused"} == set(found)
        assert all(0 <= one.size_bytes < 2**20 for one in found.values())
        assert not real.discard(f"{label}:used")
        assert real.discard(f"{label}:unused")
        assert not real.discard(f"{label}:unused")
        assert ["vllm-used"] == [one.label for one in real.shelved()]
        assert real.client.images.get(BASE)
    finally:
        container.remove()


def test_building_an_image_is_a_use(docker_bench: Bench) -> None:
    """As is finding it built."""
    real = cast("DockerRuntime", docker_bench.runtime)
    (docker_bench.folder / shelf.FILE).unlink()
    image = real.image(made.image_spec(), print)

    assert [image.digest] == list(json.loads((docker_bench.folder / shelf.FILE).read_text()))


def venv(folder: Path, name: str, used_s: float) -> Path:
    home = folder / "venvs" / name
    home.mkdir(parents=True)
    (home / "file").write_bytes(b"x" * 1000)
    (home / venvs.MARKER).touch()
    os.utime(home / venvs.MARKER, (used_s, used_s))
    return home


def test_venvs_are_the_images_of_processes(tmp_path: Path) -> None:
    """Whole ones; the one that somebody installs stays."""
    runtime = ProcessRuntime(tmp_path, {})
    one, two = venv(tmp_path, "vllm-2024-06-abc", 1), venv(tmp_path, "tgi-current-def", 2)
    (tmp_path / "venvs" / "half-current-ghi").mkdir()
    found = sorted(runtime.shelved(), key=lambda x: x.used_s)

    assert [("vllm-2024-06-abc", "vllm-2024-06", 1.0), ("tgi-current-def", "tgi-current", 2.0)] == [
        (x.name, x.label, x.used_s) for x in found
    ]
    assert all(x.size_bytes >= 1000 for x in found)
    with file_lock(beside(two), "installs it"):
        assert not runtime.discard("tgi-current-def")
    assert runtime.discard("vllm-2024-06-abc")
    assert not runtime.discard("vllm-2024-06-abc")
    assert (False, True) == (one.exists(), two.exists())
