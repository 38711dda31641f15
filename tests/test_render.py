"""orchestrator/render.py and the templates' shared parts."""

from __future__ import annotations

import jinja2
import pytest

from backends.contract import PackageSet, SiteFile
from orchestrator import render
from tests.runtime import made

PACKAGED = made.build(
    packages=(PackageSet(lock="llama-cpp-cpu.txt"),), system_packages=("libgomp1",), context=("a.py",)
)
OURS = "llama-cpp.Dockerfile.j2"
THEIRS = "lmdeploy.Dockerfile.j2"


def instructions(text: str) -> list[str]:
    """First words of the lines that are instructions."""
    return [line.split()[0] for line in text.splitlines() if line[:1].isupper()]


def test_the_base_is_the_one_that_is_told() -> None:
    """In every stage; the build's own base does not show through."""
    text = render.render(made.image_spec(PACKAGED, OURS), base="mine:1")

    assert ["FROM mine:1 AS wheels", "FROM mine:1"] == [x for x in text.splitlines() if x.startswith("FROM")]


def test_an_unknown_name_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A misspelt field does not become an empty word in a Dockerfile."""
    templates = {"x.j2": "FROM {{ spec.bild.base }}"}
    monkeypatch.setattr(render._ENVIRONMENT, "loader", jinja2.DictLoader(templates))

    with pytest.raises(jinja2.UndefinedError, match="bild"):
        render.render(made.image_spec(template="x.j2"), base="mine:1")


def test_every_stage_is_labelled_first() -> None:
    """What a failed build leaves is known as ours, however early it failed."""
    for template, the_build in ((OURS, PACKAGED), (THEIRS, made.build())):
        words = instructions(render.render(made.image_spec(the_build, template), base="mine:1"))
        assert {"LABEL"} == {words[i + 1] for i, word in enumerate(words) if word == "FROM"}


def test_labels_name_the_release() -> None:
    """`docker images --filter label=levelbench.backend=...` finds them."""
    text = render.render(made.image_spec(), base="mine:1")

    for label in ("levelbench=1", "levelbench.backend=stub", "levelbench.release=current"):
        assert label in text.replace(" \\", "").split()
    assert 'levelbench.version="stub 1"' in text


def test_our_images_run_as_no_root() -> None:
    """The last word is the user's."""
    text = render.render(made.image_spec(PACKAGED, OURS), base="mine:1")

    assert "USER 1000:1000" == text.strip().splitlines()[-1]


def test_only_what_a_build_has_is_copied() -> None:
    """The context holds no empty folders, and COPY of a missing one would fail."""
    bare = PACKAGED.model_copy(update={"context": ()})
    with_site = bare.model_copy(update={"site_files": (SiteFile(path="x", text="", reason="tests"),)})

    assert "COPY files/" in render.render(made.image_spec(PACKAGED, OURS), base="b:1")
    assert "COPY files/" not in render.render(made.image_spec(bare, OURS), base="b:1")
    assert "COPY site/" not in render.render(made.image_spec(bare, OURS), base="b:1")
    assert "COPY site/" in render.render(made.image_spec(with_site, OURS), base="b:1")


def test_a_published_image_keeps_its_own_file_system() -> None:
    """Nothing is installed into it; its entry point goes, so that argv is whole."""
    words = instructions(render.render(made.image_spec(template=THEIRS), base="mine:1"))

    assert ["FROM", "LABEL", "ENTRYPOINT", "CMD"] == words


def test_the_legacy_builder_is_enough() -> None:
    """No flag of BuildKit's: daemons without it must build too."""
    text = render.render(made.image_spec(PACKAGED, OURS), base="mine:1")

    assert "--mount" not in text
    assert "# syntax" not in text
