"""Files are whole or not there, whatever the disk says."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.errors import HostError
from orchestrator.store import files


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system with 64 KiB of room."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small tmpfs needs root and the right to mount")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_file_is_written_whole_with_nothing_beside_it(tmp_path: Path) -> None:
    """Also over an older one."""
    path = tmp_path / "a.json"
    files.write_atomically(path, b"old")
    files.write_atomically(path, b"new")

    assert [("a.json", b"new")] == [(p.name, p.read_bytes()) for p in tmp_path.iterdir()]


def test_a_full_disk_keeps_the_old_file_and_says_what_to_do(small_disk: Path) -> None:
    """A real one: the new file does not fit, the old one stays, nothing else is left."""
    path = small_disk / "result.json"
    files.write_atomically(path, b"old")

    with pytest.raises(HostError, match="No space left") as caught:
        files.write_atomically(path, b"x" * 200_000)

    assert "free some disk space" in caught.value.hint
    assert [("result.json", b"old")] == [(p.name, p.read_bytes()) for p in small_disk.iterdir()]


def test_a_full_disk_stops_the_journal_with_an_error(small_disk: Path) -> None:
    """What was noted before stays readable."""
    path = small_disk / "journal.jsonl"
    files.append_line(path, b"{}")

    with pytest.raises(HostError, match="No space left"):
        files.append_line(path, b"x" * 200_000)

    assert path.read_bytes().startswith(b"{}\n")


@pytest.mark.parametrize(
    ("number", "hint"),
    [
        (errno.ENOSPC, "disk space"),
        (errno.EDQUOT, "quota"),
        (errno.EACCES, "writable"),
        (errno.EPERM, "writable"),
        (errno.EROFS, "read-only"),
        (errno.EIO, "check the disk"),
    ],
)
def test_each_refusal_has_its_hint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, hint: str
) -> None:
    """The message names the file and the reason, the hint the remedy."""

    def refuse(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)

    with pytest.raises(HostError, match=r"cannot write .*a: ") as caught:
        files.write_atomically(tmp_path / "a", b"data")

    assert hint in caught.value.hint
    assert [] == list(tmp_path.iterdir())


def test_an_interrupt_leaves_nothing_beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C within the write: no file, no remainder."""

    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)

    with pytest.raises(KeyboardInterrupt):
        files.write_atomically(tmp_path / "a", b"data")

    assert [] == list(tmp_path.iterdir())


def test_a_copy_is_as_long_as_the_source_was(tmp_path: Path) -> None:
    """The log may grow on; the copy does not."""
    source = tmp_path / "log"
    source.write_bytes(b"one\n")
    files.copy_atomically(source, tmp_path / "copy")
    source.write_bytes(b"one\ntwo\n")

    assert b"one\n" == (tmp_path / "copy").read_bytes()


def test_a_torn_line_is_ended_before_the_next(tmp_path: Path) -> None:
    """Else the next event would be lost with it."""
    path = tmp_path / "journal"
    files.append_line(path, b"one")
    path.write_bytes(path.read_bytes() + b"to")
    files.append_line(path, b"three")

    assert b"one\nto\nthree\n" == path.read_bytes()


def test_every_line_is_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An event that was noted survives the power cut."""
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    files.append_line(tmp_path / "journal", b"one")
    files.append_line(tmp_path / "journal", b"two")

    assert 2 == len(synced)


def test_a_link_moves_without_a_gap(tmp_path: Path) -> None:
    """It points to the old target or to the new one; a remainder of a crash does not matter."""
    link = tmp_path / "latest"
    (tmp_path / f".latest.{os.getpid()}.tmp").symlink_to("stale")
    files.point_link(link, "a")
    files.point_link(link, "b")

    assert ("b", ["latest"]) == (str(link.readlink()), [p.name for p in tmp_path.iterdir()])


def test_a_folder_in_the_links_place_is_an_error(tmp_path: Path) -> None:
    """Somebody's folder is not replaced."""
    (tmp_path / "latest" / "mine").mkdir(parents=True)

    with pytest.raises(HostError, match="latest"):
        files.point_link(tmp_path / "latest", "a")


def test_a_folder_is_made_once(tmp_path: Path) -> None:
    """The second maker learns that it was not the first."""
    assert [True, False] == [files.make_folder(tmp_path / "a" / "b") for _ in range(2)]


def test_a_file_in_the_way_of_a_folder_is_an_error(tmp_path: Path) -> None:
    """A root that is a file can hold no runs."""
    (tmp_path / "root").write_bytes(b"")

    with pytest.raises(HostError, match="cannot write"):
        files.make_folder(tmp_path / "root" / "run")
