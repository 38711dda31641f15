"""What levelbench itself is: its version, the state of its checkout, and the packages beside it."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from packaging.requirements import Requirement

NAME = "levelbench"
GIT_S = 10


@dataclass(frozen=True, slots=True)
class Checkout:
    """`git_revision` is None outside a git checkout."""

    version: str
    git_revision: str | None
    git_dirty: bool
    packages: dict[str, str]


def checkout(root: Path) -> Checkout:
    """Read once per run."""
    revision = _git(root, "rev-parse", "HEAD")
    changed = _git(root, "status", "--porcelain", "--untracked-files=no")
    return Checkout(version(NAME), revision, bool(changed), packages())


def packages() -> dict[str, str]:
    """Installed versions of levelbench's direct dependencies."""
    names = [Requirement(text).name for text in requires(NAME) or ()]
    found = ((name, _version(name)) for name in sorted(set(names)))
    return {name: text for name, text in found if text is not None}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None  # for another Python or platform


def _git(root: Path, *arguments: str) -> str | None:
    argv = ("git", "-C", str(root), *arguments)
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=GIT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
