"""A tag keeps the digest that it had when it was first used here."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import CellError, HostError
from orchestrator.runtime import bases
from orchestrator.runtime.docker import DockerRuntime
from tests.runtime import made
from tests.runtime.made import Bench

ONE, TWO = "sha256:" + "1" * 64, "sha256:" + "2" * 64


@dataclass
class Image:
    """As docker-py tells it."""

    id: str = "sha256:id"
    attrs: dict[str, Any] = field(default_factory=dict)


@pytest.mark.parametrize(
    ("reference", "known", "expected"),
    [
        ("debian:bookworm", [], "sha256:id"),
        ("debian:bookworm", [f"mirror/debian@{TWO}", f"debian@{ONE}"], ONE),
        ("debian:bookworm", [f"mirror/debian@{TWO}"], TWO),
        ("host:5000/debian", [f"debian@{TWO}", f"host:5000/debian@{ONE}"], ONE),
        (f"debian@{ONE}", [f"debian@{ONE}"], ONE),
    ],
)
def test_a_base_is_known_by_its_registrys_digest(reference: str, known: list[str], expected: str) -> None:
    """That of its own repository first; an image that was never in a registry, by its id."""
    assert expected == bases.digest_of(Image(attrs={"RepoDigests": known}), reference)


def test_a_tag_is_held_to_its_first_digest(tmp_path: Path) -> None:
    """The refusal names both and says what to do; other tags are not concerned."""
    bases.hold(tmp_path, "debian:1", ONE)
    bases.hold(tmp_path, "debian:1", ONE)
    bases.hold(tmp_path, "debian:2", TWO)
    with pytest.raises(CellError, match=f"debian:1 is {TWO} now, and was {ONE}") as caught:
        bases.hold(tmp_path, "debian:1", TWO)

    assert "docker tag" in caught.value.hint
    assert str(tmp_path / bases.FILE) in caught.value.hint
    bases.hold(tmp_path, "debian:1", ONE)


def test_a_reference_by_digest_needs_no_note(tmp_path: Path) -> None:
    """It cannot move."""
    bases.hold(tmp_path, f"debian@{ONE}", ONE)

    assert not (tmp_path / bases.FILE).exists()


@pytest.mark.parametrize("text", ["{", "[]", '{"debian:1": "x"}', '{"debian:1": {}}'])
def test_a_torn_note_is_told(tmp_path: Path, text: str) -> None:
    """Never taken for an empty one: a moved tag would pass."""
    (tmp_path / bases.FILE).write_text(text)
    with pytest.raises(HostError, match="cannot be read"):
        bases.hold(tmp_path, "debian:1", ONE)


@pytest.mark.docker
def test_an_image_on_a_base_that_moved_is_not_built(docker_bench: Bench, tmp_path: Path) -> None:
    """A real daemon, whose tag was noted with another digest before."""
    bases.hold(tmp_path / "other", made.BASE, ONE)
    assert isinstance(docker_bench.runtime, DockerRuntime)
    other = DockerRuntime(docker_bench.runtime._daemon, tmp_path / "other", {}, made.BASE)
    try:
        with pytest.raises(CellError, match=f"{made.BASE} is sha256:.* now, and was {ONE}"):
            other.image(made.image_spec(), lambda _: None)
    finally:
        other.close()
    assert docker_bench.image.base_digest is not None
    assert docker_bench.image.base_digest in (docker_bench.folder / bases.FILE).read_text()
