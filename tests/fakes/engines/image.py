"""A fake engine where a runtime looks for the real one: its programs on the path, in an image or in a venv."""

from __future__ import annotations

import io
import shlex
import sys
import tarfile
from pathlib import Path

from docker import DockerClient

from orchestrator.domain.provenance import Image
from orchestrator.render import FILES_IN_IMAGE, FOLDER
from tests.fakes.engines.personalities import PERSONALITIES, Personality

ROOT = Path(__file__).resolve().parents[3]
IN_IMAGE = "/fake"
REPOSITORY = "levelbench-test/fake-engine"
_PACKAGE = (
    "tests/__init__.py",
    "tests/fakes/__init__.py",
    *(f"tests/fakes/engines/{name}.py" for name in ("__init__", "answers", "personalities", "server")),
)
PYTHON = "python3"


def personality(backend: str, release: str) -> tuple[str, Personality]:
    """The entry of a backend's release; its absence says what to add."""
    name = f"{backend} {release}"
    if name not in PERSONALITIES:
        raise AssertionError(
            f"no fake engine behaves like {name}: add a Personality of that name to "
            "tests/fakes/engines/personalities.py, with what its server does on the wire"
        )
    return name, PERSONALITIES[name]


def programs(name: str, python: str, package: str) -> dict[str, str]:
    """Path or name of each program -> the script that stands for it. A program that is started by Python
    is caught by a `python3` of our own, which passes on all that is not the engine."""
    start = f"PYTHONPATH={shlex.quote(package)} exec {shlex.quote(python)} -m tests.fakes.engines.server {shlex.quote(name)}"
    found: dict[str, str] = {}
    cases = []
    for program in PERSONALITIES[name].programs:
        first, *rest = program.split()
        if first != PYTHON:
            found[first] = f'#!/bin/sh\n{start} "$0" "$@"\n'
        elif rest[0] == "-m":
            cases.append(f'"-m {rest[1]}") shift 2; {start} {shlex.quote(rest[1])} "$@";;\n')
        else:
            cases.append(f'*/{rest[0]}*) shift; {start} {shlex.quote(rest[0])} "$@";;\n')
    found[PYTHON] = (
        f'#!/bin/sh\ncase "$1 $2" in\n{"".join(cases)}*) exec {shlex.quote(python)} "$@";;\nesac\n'
    )
    return found


def install(name: str, bin_dir: Path) -> None:
    """The programs into a folder of programs, run by our own interpreter."""
    for program, text in programs(name, sys.executable, str(ROOT)).items():
        path = bin_dir / Path(program).name
        path.unlink(missing_ok=True)
        path.write_text(text)
        path.chmod(0o755)


def build(client: DockerClient, name: str, base: str) -> Image:
    """The programs in an image, which also holds what adapters expect beside their engine."""
    files = {path: (ROOT / path).read_bytes() for path in _PACKAGE}
    lines = [f"FROM {base}", f"COPY tests {IN_IMAGE}/tests", f"COPY context/ {FILES_IN_IMAGE}/"]
    for program, text in programs(name, "/usr/bin/python3", IN_IMAGE).items():
        path = program if program.startswith("/") else f"/usr/local/bin/{program}"
        files[f"programs{path}"] = text.encode()
        lines.append(f"COPY programs{path} {path}")
    for path in PERSONALITIES[name].holds:
        files[f"held{path}"] = b""
        lines.append(f"COPY held{path} {path}")
    for file in (FOLDER / "context").glob("*.*"):  # Python's own folders have no dot
        files[f"context/{file.name}"] = file.read_bytes()
    files["Dockerfile"] = "\n".join(lines).encode()
    tag = f"{REPOSITORY}:{name.replace(' ', '-')}"
    image, _ = client.images.build(fileobj=_tar(files), custom_context=True, tag=tag, rm=True)
    return Image(reference=tag, digest=str(image.id), size_bytes=int(image.attrs["Size"]))


def _tar(files: dict[str, bytes]) -> io.BytesIO:
    """A build context; times are constant, so that an equal context is an equal image."""
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as archive:
        for name, content in sorted(files.items()):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o755
            archive.addfile(entry, io.BytesIO(content))
    held.seek(0)
    return held
