"""orchestrator/runtime/checkout.py with real repositories."""

from __future__ import annotations

import subprocess
from importlib.metadata import version
from pathlib import Path

import pytest

from orchestrator.runtime import checkout


def git(folder: Path, *arguments: str) -> str:
    argv = ("git", "-c", "user.name=t", "-c", "user.email=t@example", "-C", str(folder), *arguments)
    return subprocess.run(argv, check=True, capture_output=True, text=True, timeout=30).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q")
    (tmp_path / "a").write_text("1")
    git(tmp_path, "add", "a")
    git(tmp_path, "commit", "-qm", "one")
    return tmp_path


def test_a_clean_checkout_is_its_revision(repository: Path) -> None:
    """Files that git does not know change nothing."""
    (repository / "untracked").touch()

    found = checkout.checkout(repository)

    assert git(repository, "rev-parse", "HEAD") == found.git_revision
    assert not found.git_dirty
    assert version("levelbench") == found.version


def test_a_changed_file_makes_it_dirty(repository: Path) -> None:
    """The revision alone would then say too much."""
    (repository / "a").write_text("2")

    assert checkout.checkout(repository).git_dirty


def test_outside_a_checkout_there_is_no_revision(tmp_path: Path) -> None:
    """An installed copy, for instance."""
    found = checkout.checkout(tmp_path)

    assert found.git_revision is None
    assert not found.git_dirty


def test_without_git_there_is_no_revision(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host need not have it."""
    monkeypatch.setenv("PATH", str(repository))

    assert checkout.checkout(repository).git_revision is None


def test_packages_are_the_direct_dependencies() -> None:
    """With their installed versions; one that is for another Python is left out."""
    found = checkout.packages()

    assert version("pydantic") == found["pydantic"]
    assert sorted(found) == list(found)
    assert checkout._version("no-such-package") is None
