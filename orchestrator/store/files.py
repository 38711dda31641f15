"""Files that appear whole or not at all, also when the machine dies or the disk is full.

The one place where the operating system's refusals to write are translated into HostError.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from orchestrator.errors import HostError

_HINTS = {
    errno.ENOSPC: "free some disk space there; finished cells are safe",
    errno.EDQUOT: "free some of your disk quota; finished cells are safe",
    errno.EACCES: "make the folder writable for this user, or choose another one for runs",
    errno.EPERM: "make the folder writable for this user, or choose another one for runs",
    errno.EROFS: "the file system is read-only: choose another folder for runs",
}


def write_atomically(path: Path, data: bytes) -> None:
    """Write a whole file: beside its place, synced, then moved into it."""
    _place(path, lambda file: file.write(data))


def copy_atomically(source: Path, path: Path) -> None:
    """Copy a file that somebody may still be appending to, as it is now."""
    with translated(source), source.open("rb") as stream:
        _place(path, lambda file: shutil.copyfileobj(stream, file))


def append_line(path: Path, line: bytes) -> None:
    """Add one line and sync it. A torn line that a crash left behind is ended first."""
    with translated(path), path.open("ab+") as file:
        torn = file.tell() > 0 and not _ends_line(file)
        file.write((b"\n" if torn else b"") + line + b"\n")
        _sync(file)


def make_folder(path: Path) -> bool:
    """Make a folder and those above it. False if it exists already: somebody else's."""
    with translated(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            path.mkdir()
        except FileExistsError:
            return False
        sync_folder(path.parent)
    return True


def point_link(link: Path, target: str) -> None:
    """Let a symbolic link point to the target, with no moment at which it points nowhere."""
    beside = _beside(link)
    with translated(link):
        beside.unlink(missing_ok=True)
        beside.symlink_to(target)
        beside.replace(link)
        sync_folder(link.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable: a rename alone may be lost with the power."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sha256(path: Path) -> str:
    """A file's digest, in blocks."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """OSError -> HostError with what to do next."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        hint = _HINTS.get(error.errno or 0, "check the disk and the folder of runs")
        raise HostError(f"cannot write {path}: {reason}", hint=hint) from error


def _place(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    beside = _beside(path)
    with translated(path):
        try:
            with beside.open("wb") as file:
                write(file)
                _sync(file)
            beside.replace(path)
            sync_folder(path.parent)
        finally:
            with suppress(OSError):
                beside.unlink(missing_ok=True)


def _beside(path: Path) -> Path:
    """A hidden name in the same folder, so that the rename stays within one file system."""
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def _sync(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())


def _ends_line(file: IO[bytes]) -> bool:
    file.seek(-1, os.SEEK_END)
    return file.read(1) == b"\n"
