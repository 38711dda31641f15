"""orchestrator/runtime/placement.py"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from backends.contract import SpecFile
from orchestrator.errors import HostError
from orchestrator.runtime.placement import Placement, write_files
from tests.runtime import made

HERE = Placement(
    model="/models/{port}",
    files="/files",
    config="/config",
    bind="0.0.0.0",  # noqa: S104 - never bound
    port=81,
    out="/out",
    steps={"build-engine": "/steps/build"},
)


def test_every_placeholder_is_filled_wherever_it_stands() -> None:
    """Also twice in a word, and inside one."""
    serve = made.serve(argv=("run", "{files}/a.py", "--at={bind}:{port}"), env={"PORTS": "{port},{port}"})

    assert ("run", "/files/a.py", "--at=0.0.0.0:81") == HERE.argv(serve)
    assert {"PORTS": "81,81"} == HERE.env(serve)


def test_other_braces_stay() -> None:
    """An engine's own JSON argument is not a placeholder."""
    assert ('{"a": {}}',) == HERE.argv(made.serve(argv=('{"a": {}}',)))


def test_a_value_is_not_filled_again() -> None:
    """A folder's own name may hold braces."""
    assert ("/models/{port}",) == HERE.argv(made.serve(argv=("{model}",)))


def test_folders_of_files_and_outputs_are_filled() -> None:
    """A command's own files, its output, and what an earlier step made."""
    argv = ("{config}/a.json", "{out}/engine", "{step:build-engine}/rank0.engine")

    assert ("/config/a.json", "/out/engine", "/steps/build/rank0.engine") == HERE.argv(made.serve(argv=argv))


def test_files_are_written_for_any_reader(tmp_path: Path) -> None:
    """Their text is filled in; folders on their way are made; a container's user is not ours."""
    files = (SpecFile(path="a.json", text="{}"), SpecFile(path="repo/b.txt", text="{model}"))
    before = os.umask(0o077)
    try:
        write_files(made.serve(files=files), HERE, tmp_path / "config")
    finally:
        os.umask(before)

    assert "{}" == (tmp_path / "config" / "a.json").read_text()
    assert "/models/{port}" == (tmp_path / "config" / "repo" / "b.txt").read_text()
    modes = {p.name: p.stat().st_mode & 0o777 for p in (tmp_path / "config").rglob("*")}
    assert {"a.json": 0o644, "repo": 0o755, "b.txt": 0o644} == modes
    assert 0o755 == (tmp_path / "config").stat().st_mode & 0o777


def test_a_command_without_files_gets_no_folder(tmp_path: Path) -> None:
    """Most engines have none."""
    write_files(made.serve(), HERE, tmp_path / "config")

    assert not (tmp_path / "config").exists()


def test_files_that_cannot_be_written_are_the_hosts_fault(tmp_path: Path) -> None:
    """A file stands where the folder should be."""
    (tmp_path / "config").touch()
    with pytest.raises(HostError, match="the command's files could not be written"):
        write_files(made.serve(files=(SpecFile(path="a", text=""),)), HERE, tmp_path / "config")
