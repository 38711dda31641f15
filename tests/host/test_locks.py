"""orchestrator/host/locks.py with real files, real processes and real kills."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orchestrator.errors import HostError
from orchestrator.host import locks
from orchestrator.host.locks import Owner, file_lock, holder, host_lock, lock_if_free

HOLD = """
import sys
from pathlib import Path
from orchestrator.host.locks import host_lock
with host_lock(Path(sys.argv[1]), "nightly"):
    print("held", flush=True)
    sys.stdin.read()
"""

LEAVE_A_CHILD = """
import os, sys, time
from pathlib import Path
from orchestrator.host.locks import host_lock
with host_lock(Path(sys.argv[1]), "forker"):
    if os.fork() == 0:
        print(os.getpid(), flush=True)
        sys.stdin.read()
    os._exit(0)
"""


@contextmanager
def talking(script: str, path: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Another Python process and its first line; it ends with its standard input."""
    command = [sys.executable, "-c", script, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process, process.stdout.readline().strip()


def test_a_second_run_is_told_who_holds_the_host(tmp_path: Path) -> None:
    """The error names the owner's process, what it does and since when."""
    path = tmp_path / "host.lock"

    with talking(HOLD, path) as (owner, _):
        with pytest.raises(HostError) as caught, host_lock(path, "bench"):
            pass
        message = str(caught.value)

    assert message.startswith(f"another run holds this host: process {owner.pid} (nightly, since 20")
    assert caught.value.hint


def test_the_same_process_cannot_hold_it_twice(tmp_path: Path) -> None:
    """Two runs in one process are two runs."""
    path = tmp_path / "host.lock"

    with host_lock(path, "first"), pytest.raises(HostError, match="first"), host_lock(path, "second"):
        pass


def test_a_killed_owner_is_no_obstacle(tmp_path: Path) -> None:
    """What a killed run wrote stays in the file and means nothing."""
    path = tmp_path / "host.lock"
    with talking(HOLD, path) as (owner, _):
        owner.kill()
    assert json.loads(path.read_text())["doing"] == "nightly"

    with host_lock(path, "bench"):
        assert json.loads(path.read_text())["doing"] == "bench"


def test_garbage_in_the_file_is_no_obstacle(tmp_path: Path) -> None:
    """Only the kernel's lock counts; a longer old text leaves no rest behind the new one."""
    path = tmp_path / "host.lock"
    path.write_text("x" * 4096)

    with host_lock(path, "bench"):
        assert json.loads(path.read_text())["pid"] == os.getpid()


def test_a_released_lock_names_nobody(tmp_path: Path) -> None:
    """The file stays, empty, and can be taken again, also after an exception."""
    path = tmp_path / "new folder" / "host.lock"

    with pytest.raises(RuntimeError), host_lock(path, "bench"):
        raise RuntimeError
    assert path.read_text() == ""
    with host_lock(path, "bench"):
        pass


def test_a_child_that_outlives_the_owner_is_told_as_such(tmp_path: Path) -> None:
    """A forked child keeps the lock; the message does not claim that the dead owner runs."""
    path = tmp_path / "host.lock"

    with talking(LEAVE_A_CHILD, path) as (owner, _):
        owner.wait(timeout=30)
        with pytest.raises(HostError, match=r"left behind by process .*forker.*which has ended"):
            host_lock(path, "bench").__enter__()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"pid": 1}', "\x00"])
def test_an_owner_that_cannot_be_read_is_nobody(tmp_path: Path, text: str) -> None:
    """A lock whose owner has not written yet, or wrote garbage, still has a sentence."""
    path = tmp_path / "lock"
    path.write_text(text)

    assert holder(path) == "a process that did not say who it is"


def test_a_missing_lock_file_has_no_owner(tmp_path: Path) -> None:
    """Asking for the holder of nothing does not raise."""
    assert holder(tmp_path / "none") == "a process that did not say who it is"


def test_an_owner_lives_only_with_its_boot_and_start() -> None:
    """A process number that came back after a reboot, or later, is another process."""
    me = locks._myself("test")

    assert me.alive
    assert not Owner(me.pid, me.start_ticks + 1, me.boot_id, me.since, me.doing).alive
    assert not Owner(me.pid, me.start_ticks, "another boot", me.since, me.doing).alive


def test_an_unknown_boot_is_one_boot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the kernel does not tell its boot, the start time alone decides."""
    monkeypatch.setattr(locks, "BOOT_ID_PATH", tmp_path / "none")

    assert locks._myself("test").alive


def test_a_lock_in_an_impossible_place_is_told(tmp_path: Path) -> None:
    """A file where a folder should be is the host's fault, with its path."""
    (tmp_path / "file").touch()

    with (
        pytest.raises(HostError, match=r"cannot open the lock file .*host\.lock"),
        host_lock(tmp_path / "file" / "host.lock", "bench"),
    ):
        pass


def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An owner that cannot be written is the host's fault, and the lock is given back."""

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        with pytest.raises(HostError, match="No space left"), host_lock(tmp_path / "lock", "bench"):
            pass
    with host_lock(tmp_path / "lock", "bench"):
        pass


def test_a_file_lock_is_waited_for(tmp_path: Path) -> None:
    """The waiting is told once, after a second, with who holds it; then the lock is had."""
    path = tmp_path / "weights.lock"
    first = host_lock(path, "make weights")
    first.__enter__()
    told: list[str] = []
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if sum(waits) > 3:
            first.__exit__(None, None, None)

    with file_lock(path, "bench", progress=told.append, sleep=sleep):
        assert json.loads(path.read_text())["doing"] == "bench"

    assert len(told) == 1
    assert told[0].startswith(f"waiting for weights.lock, held by process {os.getpid()} (make weights")


def test_a_short_wait_is_not_told(tmp_path: Path) -> None:
    """Under a second nobody needs to know."""
    path = tmp_path / "weights.lock"
    first = host_lock(path, "make weights")
    first.__enter__()
    told: list[str] = []

    def sleep(_: float) -> None:
        first.__exit__(None, None, None)

    with file_lock(path, progress=told.append, sleep=sleep):
        pass

    assert told == []


def test_a_free_file_lock_is_had_at_once(tmp_path: Path) -> None:
    """Nobody sleeps for a lock that nobody holds."""

    def never(_: float) -> None:
        raise AssertionError

    with file_lock(tmp_path / "lock", sleep=never):
        pass


def test_a_free_lock_is_taken_and_a_held_one_is_left(tmp_path: Path) -> None:
    """Who only wants what nobody uses does not wait for it."""
    path = tmp_path / "a.lock"
    with file_lock(path, "makes a"):
        with lock_if_free(path, "removes a") as free:
            assert not free
        assert "makes a" in holder(path)
    with lock_if_free(path, "removes a") as free:
        assert free
        assert "removes a" in holder(path)


# The host's own


def test_the_hosts_lock_is_where_every_user_may_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first such place, for whoever asks: what this user alone may write does not count."""
    own, shared, last = (tmp_path / name for name in ("own", "shared", "last"))
    for folder, mode in ((own, 0o1755), (shared, 0o1777), (last, 0o1777)):
        folder.mkdir()
        folder.chmod(mode)
    monkeypatch.setattr(locks, "PLACES", (tmp_path / "absent", own, shared, last))

    assert shared / locks.HOST == locks.host_path()


def test_a_lock_of_the_host_is_everyones(tmp_path: Path) -> None:
    """Whatever the umask of who came first: the next user must be able to hold it."""
    before = os.umask(0o077)
    try:
        with host_lock(tmp_path / "host.lock", "bench"):
            pass
    finally:
        os.umask(before)

    assert 0o666 == (tmp_path / "host.lock").stat().st_mode & 0o777


def test_nobodys_link_is_followed(tmp_path: Path) -> None:
    """In a folder that all may write, a link could lead to a file of ours."""
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "host.lock").symlink_to(tmp_path / "precious")

    with pytest.raises(HostError), host_lock(tmp_path / "host.lock", "bench"):
        pass
    assert "mine" == (tmp_path / "precious").read_text()


def test_who_waits_gets_the_host_when_it_is_free(tmp_path: Path) -> None:
    """And hears once for whom."""
    path = tmp_path / "host.lock"
    told: list[str] = []
    with talking(HOLD, path) as (owner, _):

        def sleep(_: float) -> None:
            if told and owner.stdin is not None and not owner.stdin.closed:
                owner.stdin.close()
                owner.wait(30)

        with host_lock(path, "bench", wait=True, progress=told.append, sleep=sleep):
            assert "bench" in holder(path)

    assert 1 == len(told)
    assert f"held by process {owner.pid} (nightly" in told[0]
