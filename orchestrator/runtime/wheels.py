"""The wheels of a release, fetched by the host's own pip with the host's own configuration."""

from __future__ import annotations

import hashlib
import platform
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

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
    """A folder with every wheel of the build's locks, for the Python of its base image."""
    digest = hashlib.sha256(f"{build.python}".encode())
    for package_set in build.packages:
        digest.update(lock_path(package_set).read_bytes())
    home = folder / digest.hexdigest()[:12]
    with file_lock(beside(home), f"fetches wheels of {build.version}", progress=progress):
        if not (home / MARKER).exists():
            shutil.rmtree(home, ignore_errors=True)
            _download(build, home, env, progress)
            (home / MARKER).touch()
    return home


def target(build: Build) -> tuple[str, ...]:
    """pip's words for where the wheels will run: the base image's Python and C library, not this host's."""
    machine = platform.machine()
    platforms = (f"manylinux_2_{minor}_{machine}" for minor in range(GLIBC_MINOR, OLDEST_GLIBC_MINOR - 1, -1))
    options = (word for name in (*platforms, f"manylinux2014_{machine}") for word in ("--platform", name))
    return (*(("--python-version", ".".join(map(str, build.python))) if build.python else ()), *options)


def _download(build: Build, home: Path, env: Mapping[str, str], progress: Progress) -> None:
    for package_set in build.packages:
        argv = (
            *(sys.executable, *PYTHON_PIP, "download", *PIP, *target(build)),
            *("--dest", str(home), *index_options(package_set)),
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
