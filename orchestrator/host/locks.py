"""Locks between processes: one run per host, one builder per cached thing.

flock(2) holds the lock, so that the kernel gives it back however its owner ends. What stands in the file is
only for people: it names the owner and may be stale.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path

from orchestrator.errors import HostError

BOOT_ID_PATH = Path("/proc/sys/kernel/random/boot_id")
POLL_S = 0.1
PATIENCE_S = 1.0


@dataclass(frozen=True, slots=True)
class Identity:
    """A process, told apart from every other: `start_ticks` from a later one with its number, `boot_id`
    from one before a reboot."""

    pid: int
    start_ticks: int
    boot_id: str

    @property
    def alive(self) -> bool:
        return self.boot_id == _boot_id() and self.start_ticks == _start_ticks(self.pid)


@dataclass(frozen=True, slots=True)
class Owner(Identity):
    """Who holds a lock, since when and for what."""

    since: str
    doing: str

    def __str__(self) -> str:
        return f"process {self.pid} ({self.doing}, since {self.since})"


@contextmanager
def host_lock(path: Path, owner_text: str) -> Iterator[None]:
    """Hold this host for one run. HostError naming the owner when another run holds it."""
    with _opened(path) as descriptor:
        if not _taken(descriptor):
            raise HostError(
                f"another run holds this host: {holder(path)}",
                hint="wait for it or end it; two runs at a time would measure each other",
            )
        with _owned(descriptor, path, owner_text):
            yield


@contextmanager
def file_lock(
    path: Path,
    owner_text: str = "",
    *,
    progress: Callable[[str], None] = lambda _: None,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[None]:
    """Hold a file, waiting for it as long as it takes; `progress` hears once who keeps us waiting."""
    with _opened(path) as descriptor:
        waited_s = 0.0
        told = False
        while not _taken(descriptor):
            if waited_s >= PATIENCE_S and not told:
                progress(f"waiting for {path.name}, held by {holder(path)}")
                told = True
            sleep(POLL_S)
            waited_s += POLL_S
        with _owned(descriptor, path, owner_text):
            yield


@contextmanager
def lock_if_free(path: Path, owner_text: str) -> Iterator[bool]:
    """Hold a file if nobody else does; tells whether."""
    with _opened(path) as descriptor:
        if not _taken(descriptor):
            yield False
            return
        with _owned(descriptor, path, owner_text):
            yield True


def beside(folder: Path) -> Path:
    """The lock of a folder, which itself may come and go."""
    return folder.with_name(f"{folder.name}.lock")


def holder(path: Path) -> str:
    """Who holds a lock, as far as its file tells."""
    try:
        owner = Owner(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return "a process that did not say who it is"
    if owner.alive:
        return str(owner)
    # The descriptor was inherited: a child outlived the process that took the lock.
    return f"a process left behind by {owner}, which has ended"


def identity(pid: int) -> Identity:
    """Of a process that runs now."""
    return Identity(pid, _start_ticks(pid) or 0, _boot_id())


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise HostError(
            f"cannot open the lock file {path}: {error.strerror}",
            hint="make its folder writable for this user",
        ) from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def _owned(descriptor: int, path: Path, owner_text: str) -> Iterator[None]:
    """Write the owner while the lock is held; the file stays, empty, since removing it would let two in."""
    _write(descriptor, path, _myself(owner_text))
    try:
        yield
    finally:
        with suppress(OSError):
            os.ftruncate(descriptor, 0)


def _write(descriptor: int, path: Path, owner: Owner) -> None:
    text = json.dumps(asdict(owner)).encode()
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, text, 0)
        os.fsync(descriptor)
        _sync_folder(path.parent)
    except OSError as error:
        raise HostError(
            f"cannot write the lock file {path}: {error.strerror}", hint="free some disk space"
        ) from error


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _myself(owner_text: str) -> Owner:
    me = identity(os.getpid())
    since = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return Owner(me.pid, me.start_ticks, me.boot_id, since, owner_text)


def _boot_id() -> str:
    try:
        return BOOT_ID_PATH.read_text().strip()
    except OSError:
        return ""


def _start_ticks(pid: int) -> int | None:
    """Clock ticks from boot to the start of a process, or None when there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # Field 22 of proc_pid_stat(5); the second, a name in brackets, may itself hold spaces and brackets.
    return int(text.rpartition(")")[2].split()[19])
