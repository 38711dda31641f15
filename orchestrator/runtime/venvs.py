"""A release in its own virtual environment: made once, under a lock, whole or made again."""

from __future__ import annotations

import csv
import hashlib
import os
import shutil
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from backends.contract import Build, FailureCause, ImageSpec, PackageSet
from orchestrator.domain.provenance import Image
from orchestrator.domain.shelf import Shelved
from orchestrator.errors import CellError, HostError, RequestError
from orchestrator.host.checks import folder_bytes
from orchestrator.host.locks import beside, file_lock, lock_if_free
from orchestrator.render import FOLDER
from orchestrator.runtime.command import CommandError, run
from orchestrator.runtime.interface import Progress

LOCKS = FOLDER / "locks"
MARKER = "levelbench-complete"
DEADLINE_S = 1800.0
# Wheels only, so that both runtimes get the same files and nothing is compiled here
PIP = (
    *("--disable-pip-version-check", "--no-input", "--retries", "2"),
    *("--only-binary", ":all:", "--progress-bar", "off"),
)
# -I: a PYTHONPATH of ours would make pip believe that packages are installed already
PYTHON_PIP = ("-I", "-m", "pip")


@dataclass(frozen=True, slots=True)
class Venv:
    """A ready environment and what it is made of; `layer` is the serving layer's beside it."""

    folder: Path
    image: Image
    layer: Path | None = None


def lock_path(package_set: PackageSet) -> Path:
    path = LOCKS / package_set.lock
    if not path.is_file():
        raise RequestError(
            f"lock file {package_set.lock} is missing", hint=f"every release has its lock files in {LOCKS}"
        )
    return path


def index_options(package_set: PackageSet, lock: Path | None = None) -> tuple[str, ...]:
    """pip's options for one set, or for what of it stands in `lock`: never resolve, and check hashes where there
    are any."""
    lock = lock or lock_path(package_set)
    hashed = ("--require-hashes",) if "--hash=" in lock.read_text() else ()
    index = ("--index-url", package_set.index_url) if package_set.index_url else ()
    return ("--no-deps", *hashed, *index, "-r", str(lock))


def content_key(build: Build) -> str:
    """Changes with anything that could change what is installed."""
    digest = hashlib.sha256(f"{sys.version_info[:2]}".encode())
    for package_set in build.packages:
        digest.update(lock_path(package_set).read_bytes())
    for site_file in build.site_files:
        digest.update(f"{site_file.path}\0{site_file.text}\0".encode())
    return digest.hexdigest()[:12]


def ready(spec: ImageSpec, folder: Path, env: Mapping[str, str], progress: Progress) -> Venv:
    """The release's environment under `folder`, from before or made now; one that is named by its digest is never
    made."""
    require_python(spec.build)
    if spec.digest is not None:
        return _pinned(spec, spec.digest, folder)
    if not spec.build.packages:
        raise RequestError(
            f"{spec.name} {spec.build.version} comes as an image only",
            hint="RUNTIME=docker, on a host with a Docker daemon",
        )
    if spec.layer is not None:
        return _beside(ready(spec.layer, folder, env, progress), spec, folder, env, progress)
    home = folder / f"{spec.name}-{spec.release}-{content_key(spec.build)}"
    with file_lock(beside(home), f"installs {home.name}", progress=progress):
        if not _is_whole(home):
            if home.exists():
                progress(f"{home.name} is damaged in the cache: made again")
            _make(spec, home, env, progress)
        with suppress(OSError):
            os.utime(home / MARKER)  # its time is that of the last use
        return Venv(home, _image(home))


def _pinned(spec: ImageSpec, digest: str, folder: Path) -> Venv:
    for home in sorted(folder.glob(f"{spec.name}-{spec.release}-*")):
        if _is_whole(home) and (image := _image(home)).digest == digest:
            return Venv(home, image)
    raise CellError(
        f"the environment {digest} of {spec.name} is not here any more", hint="measure the current one"
    )


def _beside(layer: Venv, spec: ImageSpec, folder: Path, env: Mapping[str, str], progress: Progress) -> Venv:
    """The engine's environment with a serving layer's of its own: two folders, told as one image."""
    engine = ready(spec.model_copy(update={"layer": None}), folder, env, progress)
    digests = f"{engine.image.digest}+{layer.image.digest}"
    image = Image(
        reference=f"{engine.image.reference}+{layer.folder.name}",
        digest=f"sha256:{hashlib.sha256(digests.encode()).hexdigest()}",
        size_bytes=engine.image.size_bytes + layer.image.size_bytes,
    )
    return Venv(engine.folder, image, layer.folder)


def shelved(folder: Path) -> tuple[Shelved, ...]:
    """Those that are whole."""
    return tuple(
        Shelved(
            name=marker.parent.name,
            label=marker.parent.name.rpartition("-")[0],
            size_bytes=folder_bytes(marker.parent),
            used_s=marker.stat().st_mtime,
        )
        for marker in folder.glob(f"*/{MARKER}")
    )


def discard(home: Path) -> bool:
    """Remove one, unless somebody installs it or it has gone."""
    with lock_if_free(beside(home), f"removes {home.name}") as free:
        if not free or not home.exists():
            return False
        (home / MARKER).unlink(missing_ok=True)  # first: what is left if this is interrupted is not whole
        shutil.rmtree(home, ignore_errors=True)
        return True


def require_python(build: Build) -> None:
    """HostError when this interpreter is not one that the packages are locked for."""
    version = sys.version_info[:2]
    too_old = build.python is not None and version < build.python
    too_new = build.max_python is not None and version > build.max_python
    if too_old or too_new:
        wanted = build.max_python if too_new else build.python
        assert wanted is not None  # noqa: S101 - one of the two bounds was crossed
        name = f"{wanted[0]}.{wanted[1]}"
        raise HostError(
            f"{build.version} runs in a process under Python {name}, this is {version[0]}.{version[1]}",
            hint=f"make ... PYTHON=python{name} VENV=.venv-{name}, or RUNTIME=docker",
        )


def _is_whole(home: Path) -> bool:
    """Whether its interpreter and every file that pip noted are there; else the system's own Python, next on
    the engine's PATH, would take its place."""
    if not (home / MARKER).exists() or not (home / "bin" / "python3").exists():
        return False
    records = list(home.glob("lib/python3*/site-packages/*.dist-info/RECORD"))
    return bool(records) and all(map(_has_every_file, records))


def _has_every_file(record: Path) -> bool:
    """Sizes are not compared: packages that share a file overwrite each other's. Rows without a hash are
    files that Python makes again."""
    site = record.parent.parent
    try:
        rows = list(csv.reader(record.read_text(encoding="utf-8").splitlines()))
    except OSError:
        return False
    return all((site / row[0]).exists() for row in rows if len(row) > 1 and row[1])


def _make(spec: ImageSpec, home: Path, env: Mapping[str, str], progress: Progress) -> None:
    shutil.rmtree(home, ignore_errors=True)
    python = str(home / "bin" / "python")
    try:
        run((sys.executable, "-I", "-m", "venv", str(home)), on_line=progress, deadline_s=DEADLINE_S, env=env)
        for package_set in spec.build.packages:
            argv = (python, *PYTHON_PIP, "install", *PIP, *index_options(package_set))
            run(argv, on_line=progress, deadline_s=DEADLINE_S, env=env)
        _write_site_files(spec.build, home)
        (home / MARKER).touch()
    except CommandError as error:
        raise CellError(
            f"{spec.build.version} could not be installed ({error})",
            hint="see pip's last lines; check the network, the proxy and the disk",
            cause=FailureCause.IMAGE_BUILD,
            log_tail=error.tail,
        ) from error
    except OSError as error:
        raise HostError(
            f"{home} could not be made: {error}", hint="free disk, or set LEVELBENCH_CACHE"
        ) from error


def _write_site_files(build: Build, home: Path) -> None:
    site = next((home / "lib").glob("python3*")) / "site-packages"
    for site_file in build.site_files:
        path = site / site_file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(site_file.text, encoding="utf-8")


def _image(home: Path) -> Image:
    installed = sorted(p.name for p in home.glob("lib/python3*/site-packages/*.dist-info"))
    key = home.name.rpartition("-")[2]  # the content key that it was made for
    digest = hashlib.sha256("\n".join((key, *installed)).encode()).hexdigest()
    size_bytes = sum(p.stat().st_size for p in home.rglob("*") if p.is_file() and not p.is_symlink())
    return Image(reference=f"venv:{home.name}", digest=f"sha256:{digest}", size_bytes=size_bytes)
