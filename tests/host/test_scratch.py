"""Folders whose names say whose they are: what a killed process left goes, everything else stays."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from orchestrator.host import locks, scratch
from orchestrator.host.scratch import owned_prefix, sweep

LEAVE = """
import os, sys, tempfile
from orchestrator.host.scratch import owned_prefix
print(tempfile.mkdtemp(prefix=owned_prefix("engine"), dir=sys.argv[1]), flush=True)
os.kill(os.getpid(), 9)
"""


def left(folder: Path) -> Path:
    """What a process that was killed has left."""
    command = [sys.executable, "-c", LEAVE, str(folder)]
    return Path(
        subprocess.run(command, capture_output=True, text=True, check=False, timeout=60).stdout.strip()
    )


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    """With all that is in it; a look alone removes nothing."""
    path = left(tmp_path)
    (path / "weights").mkdir()

    assert (str(path),) == sweep(tmp_path, dry_run=True)
    assert path.exists()
    assert (str(path),) == sweep(tmp_path)
    assert not path.exists()


def test_what_lives_or_is_not_ours_stays(tmp_path: Path) -> None:
    """A folder of this process, one whose name says less, a file, a link to somewhere else."""
    mine = Path(tempfile.mkdtemp(prefix=owned_prefix("load"), dir=tmp_path))
    dead = left(tmp_path)
    (tmp_path / "levelbench-engine-theses").mkdir()
    (tmp_path / f"{dead.name}x").touch()
    dead.rmdir()
    dead.symlink_to(mine)

    assert () == sweep(tmp_path)
    assert mine.exists()


def test_a_folder_of_another_boot_is_dead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever process has its number now."""
    path = Path(tempfile.mkdtemp(prefix=owned_prefix("load"), dir=tmp_path))
    monkeypatch.setattr(locks, "_boot_id", lambda: "another")

    assert (str(path),) == sweep(tmp_path)


def test_a_number_of_another_namespace_proves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container's processes have other numbers here; without a boot id nothing can be proven at all."""
    left(tmp_path)
    monkeypatch.setattr(scratch, "_space", lambda: "pid:[1]")
    assert () == sweep(tmp_path)
    monkeypatch.undo()
    monkeypatch.setattr(locks, "_boot_id", lambda: "")

    assert () == sweep(tmp_path)


def test_names_leave_room_for_sockets() -> None:
    """A socket's path may have 107 characters, and engines put names of 37 below their folder."""
    longest = f"/tmp/{owned_prefix('engine')}12345678"  # noqa: S108 - a length

    assert len(longest) + 37 <= 107
