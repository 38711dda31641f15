"""The wheels of a release, fetched by the host's own pip with the host's own configuration."""

from __future__ import annotations

import hashlib
import platform
import shutil
import sys
import tempfile
from collections.abc import Mapping
from itertools import product
from pathlib import Path

from packaging.markers import Marker

from backends.contract import Build, FailureCause
from orchestrator.errors import CellError
from orchestrator.host.locks import beside, file_lock
from orchestrator.runtime.command import CommandError, run
from orchestrator.runtime.interface import Progress
from orchestrator.runtime.venvs import (
    DEADLINE_S,
    MARKER,
    PIP,
    PYTHON_PIP,
    index_options,
    lock_path,
)

GLIBC_MINOR = 36  # of Debian bookworm, the base of everything that is installed from wheels
OLDEST_GLIBC_MINOR = 5


def fetch(build: Build, folder: Path, env: Mapping[str, str], progress: Progress) -> Path:
    """A folder with every wheel of the build's locks, for the Python of its base image, or for each of several."""
    digest = hashlib.sha256(f"{build.wheels_for or build.python}".encode())
    for package_set in build.packages:
        digest.update(lock_path(package_set).read_bytes())
    home = folder / digest.hexdigest()[:12]
    with file_lock(beside(home), f"fetches wheels of {build.version}", progress=progress):
        if not (home / MARKER).exists():
            shutil.rmtree(home, ignore_errors=True)
            _download(build, home, env, progress)
            (home / MARKER).touch()
    return home


def target(python: tuple[int, int] | None) -> tuple[str, ...]:
    """pip's words for where the wheels will run: the base image's Python and C library, not this host's."""
    machine = platform.machine()
    platforms = (f"manylinux_2_{minor}_{machine}" for minor in range(GLIBC_MINOR, OLDEST_GLIBC_MINOR - 1, -1))
    options = (word for name in (*platforms, f"manylinux2014_{machine}") for word in ("--platform", name))
    return (*(("--python-version", ".".join(map(str, python))) if python else ()), *options)


def entries(lock: str, python: tuple[int, int]) -> str:
    """What of a lock holds for an interpreter, without its conditions: pip judges these by the Python that it
    runs on, also where it downloads for another."""
    version = ".".join(map(str, python))
    env = {"python_version": version, "python_full_version": f"{version}.0"}
    kept: list[str] = []
    holds = True
    for line in lock.splitlines():
        pin, condition, marker = line.removesuffix("\\").partition(";")
        if condition:
            holds = Marker(marker).evaluate(env)
        elif line and not line.startswith(" "):
            holds = True
        if holds:
            kept.append(f"{pin}\\" if condition else line)
    return "\n".join(kept) + "\n"


def _download(build: Build, home: Path, env: Mapping[str, str], progress: Progress) -> None:
    with tempfile.TemporaryDirectory(prefix="levelbench-wheels-") as folder:
        for package_set, python in product(build.packages, build.wheels_for or (build.python,)):
            lock = lock_path(package_set)
            if build.wheels_for and python is not None:
                lock = Path(folder) / "lock.txt"
                lock.write_text(entries(lock_path(package_set).read_text("utf-8"), python), "utf-8")
            argv = (
                *(sys.executable, *PYTHON_PIP, "download", *PIP, *target(python)),
                *("--dest", str(home), *index_options(package_set, lock)),
            )
            try:
                run(argv, on_line=progress, deadline_s=DEADLINE_S, env=env)
            except CommandError as error:
                raise CellError(
                    f"wheels of {build.version} could not be fetched ({error})",
                    hint="see pip's last lines; check the network, the proxy and the disk",
                    cause=FailureCause.IMAGE_PULL,
                    log_tail=error.tail,
                ) from error
