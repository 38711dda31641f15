"""levelbench for another host: the checkout that runs here, or, where it was installed from a wheel, that wheel again."""

from __future__ import annotations

import base64
import hashlib
import shlex
from importlib.metadata import Distribution, distribution
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from orchestrator.errors import HostError, RequestError
from orchestrator.runtime import ssh
from orchestrator.runtime.checkout import NAME
from orchestrator.runtime.command import CommandError

HOME = ".cache/levelbench"  # of the home folder there
CHECKOUT, WHEEL = "checkout", "wheel"
LEFT_OUT = (
    ".venv",
    ".venv-*",
    "runs",
    "__pycache__",
    ".mypy_cache",
    ".ruff_cache",
    ".pytest_cache",
    ".hypothesis",
)
INSTALL_S = 900.0
# Of an installed package, but not of a wheel: pip writes them anew
PIPS = {"RECORD", "INSTALLER", "REQUESTED", "direct_url.json"}


def is_checkout(root: Path) -> bool:
    """Whether `root`, which holds our packages, is where make can install them from."""
    return (root / "Makefile").is_file() and (root / "pyproject.toml").is_file()


def ship(host: str, root: Path) -> PurePosixPath:
    """Put it there; gives the folder, in which `.venv` is to be."""
    kind = CHECKOUT if is_checkout(root) else WHEEL
    there = PurePosixPath(_asked(host, f"cd && mkdir -p {HOME}/{kind} && cd {HOME}/{kind} && pwd").strip())
    if kind == CHECKOUT:
        left_out = (f"--exclude=/{name}" for name in LEFT_OUT)
        ssh.copied(f"{root}/", f"{host}:{there}/", "--delete", *left_out, "--exclude=__pycache__")
        return there
    with TemporaryDirectory(prefix="levelbench-wheel-") as folder:
        packed(distribution(NAME), Path(folder))
        # one that is there already keeps its time, and is not installed again
        only = ("--checksum", "--no-times", "--delete", "--include=/*.whl", "--exclude=*")
        ssh.copied(f"{folder}/", f"{host}:{there}/", *only)
    return there


def install(host: str, there: PurePosixPath) -> None:
    """Make its virtual environment there. HostError with what was said where that fails."""
    if there.name == CHECKOUT:
        command, needs = f"make --silent -C {shlex.quote(str(there))} .venv/.ready", "make and "
    else:
        command, needs = f"cd {shlex.quote(str(there))} && {_PIP}", ""
    try:
        ssh.asked(host, ("sh", "-c", command), deadline_s=INSTALL_S)
    except CommandError as error:
        raise HostError(
            f"levelbench cannot be installed on {host}: {error.tail.strip() or error}",
            hint=f"it needs {needs}Python 3.10 or newer with venv there",
        ) from error


# The same wheel is installed once
_PIP = (
    "[ .venv/.ready -nt levelbench-*.whl ] || { rm -rf .venv && python3 -m venv .venv && "
    ".venv/bin/pip install --quiet --disable-pip-version-check levelbench-*.whl && touch .venv/.ready; }"
)


def packed(of: Distribution, folder: Path) -> Path:
    """The wheel that an installed package came from, made of its files. RequestError for one that has none (editable,
    or of a system's packages)."""
    files = [PurePosixPath(str(path)) for path in of.files or ()]
    info = next((path.parent for path in files if path.name == "WHEEL"), None)
    ours = [
        path
        for path in files
        if ".." not in path.parts and "__pycache__" not in path.parts
        if not (path.parent == info and path.name in PIPS)
    ]
    if info is None or not any(path.parts[0] == "orchestrator" for path in ours):
        raise RequestError(
            "this levelbench is neither a checkout nor installed from a wheel",
            hint="run it from a checkout: git clone, then make bench HOST=...",
        )
    place = folder / f"{info.name.removesuffix('.dist-info')}-py3-none-any.whl"
    with ZipFile(place, "w", ZIP_DEFLATED) as archive:
        lines = [_added(archive, path, Path(str(of.locate_file(str(path))))) for path in sorted(ours)]
        archive.writestr(ZipInfo(f"{info}/RECORD"), "".join([*lines, f"{info}/RECORD,,\n"]))
    return place


def _added(archive: ZipFile, name: PurePosixPath, path: Path) -> str:
    """Its line of RECORD."""
    data = path.read_bytes()
    archive.writestr(ZipInfo(str(name)), data, ZIP_DEFLATED)  # of 1980: equal files make an equal wheel
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
    return f"{name},sha256={digest},{len(data)}\n"


def _asked(host: str, command: str) -> str:
    return ssh.asked(host, ("sh", "-c", command))
