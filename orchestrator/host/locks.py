"""Locks between processes: one run per host, one builder per cached thing.

flock(2) holds the lock, so that the kernel gives it back however its owner ends. What stands in the file is
only for people: it names the owner and may be stale.
"""

from __future__ import annotations

import fcntl
import json
import os
import stat
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
ENDED = ("Z", "X")  # zombie, dead
# Where locks lie, by custom; on some systems only root may write there
PLACES = (Path("/run/lock"), Path("/tmp"))  # noqa: S108 - found by all users, and opened with care
HOST = "levelbench.lock"
EVERYONES = 0o666


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


def host_path() -> Path:
    """The one file that stands for this host, whoever asks and whatever folders they work in: in the first of
    the places that every user may write. By that rule two users never choose two places."""
    return next((folder for folder in PLACES if _is_everyones(folder)), PLACES[-1]) / HOST


@contextmanager
def host_lock(
    path: Path,
    owner_text: str,
    *,
    wait: bool = False,
    progress: Callable[[str], None] = lambda _: None,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[None]:
    """Hold this host for one run. When another run holds it: HostError naming the owner or, with `wait`, wait as
    long as it takes; `progress` hears once for whom."""
    with _opened(path, EVERYONES) as descriptor:
        if wait:
            _await(descriptor, path, progress, sleep)
        elif not taken(descriptor):
            raise HostError(
                f"another run holds this host: {holder(path)}",
                hint="wait for it (--wait, WAIT=1) or end it; two runs at a time would measure each other",
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
        _await(descriptor, path, progress, sleep)
        with _owned(descriptor, path, owner_text):
            yield


@contextmanager
def lock_if_free(path: Path, owner_text: str) -> Iterator[bool]:
    """Hold a file if nobody else does; tells whether."""
    with _opened(path) as descriptor:
        if not taken(descriptor):
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


def has_ended(pid: int) -> bool:
    """Whether the process is a zombie: its number stays taken until its parent asks how it ended, and in a container
    nobody may ever ask."""
    fields = _stat(pid)
    return fields is not None and fields[0] in ENDED


def _await(
    descriptor: int, path: Path, progress: Callable[[str], None], sleep: Callable[[float], None]
) -> None:
    waited_s = 0.0
    told = False
    while not taken(descriptor):
        if waited_s >= PATIENCE_S and not told:
            progress(f"waiting for {path.name}, held by {holder(path)}")
            told = True
        sleep(POLL_S)
        waited_s += POLL_S


@contextmanager
def _opened(path: Path, mode: int = 0o644) -> Iterator[int]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = _open(path, mode)
    except OSError as error:
        raise HostError(
            f"cannot open the lock file {path}: {error.strerror}",
            hint="make its folder writable for this user",
        ) from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _open(path: Path, mode: int) -> int:
    """Made with that mode if it is not there. A file that is there is opened without O_CREAT: in a folder like
    /tmp the kernel refuses that for a file of somebody else's (fs.protected_regular), and nobody's link is
    followed."""
    always = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
    while True:
        with suppress(FileNotFoundError):
            return os.open(path, always)
        with suppress(FileExistsError):
            descriptor = os.open(path, always | os.O_CREAT | os.O_EXCL, mode)
            os.fchmod(descriptor, mode)  # whatever this user's umask says
            return descriptor


def _is_everyones(folder: Path) -> bool:
    """Whether every user may make files in it, and remove none but their own."""
    try:
        mode = folder.stat().st_mode
    except OSError:
        return False
    return stat.S_ISDIR(mode) and bool(mode & stat.S_IWOTH) and bool(mode & stat.S_ISVTX)


def taken(descriptor: int) -> bool:
    """Whether nobody else holds the file's lock; then we do, for as long as it is open."""
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
    """Clock ticks from boot to the start of a process, or None when no such process runs."""
    fields = _stat(pid)
    return None if fields is None or fields[0] in ENDED else int(fields[19])


def _stat(pid: int) -> list[str] | None:
    """From the third field of proc_pid_stat(5) on, which is the state; the second, a name in brackets, may itself
    hold spaces and brackets."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


def exists(pid: int) -> bool:
    """Also of a process of another user, or that /proc hides from this one."""
    with suppress(ProcessLookupError):
        try:
            os.kill(pid, 0)
        except PermissionError:
            return True
        return True
    return False
