from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from quantize.__main__ import main


def test_each_file_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Making a model prints one line for each file, with its size."""
    assert 0 == main(["tiny-awq", str(tmp_path)])

    lines = dict(line.split() for line in capsys.readouterr().out.splitlines())
    assert {path.name: str(path.stat().st_size) for path in tmp_path.iterdir()} == lines


def test_unknown_recipe_exits_with_2(tmp_path: Path) -> None:
    """An unknown recipe ends the command with code 2 and the list of those that exist."""
    command = [sys.executable, "-m", "quantize", "huge", str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)

    assert 2 == ended.returncode
    assert all(name in ended.stderr for name in ("huge", "small", "tiny", "tiny-awq"))
    assert [] == list(tmp_path.iterdir())


def test_full_folder_exits_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder that is not empty ends the command with code 2 and what to do."""
    (tmp_path / "precious.txt").touch()

    assert 2 == main(["tiny", str(tmp_path)])
    assert "give a new or an empty folder" in capsys.readouterr().err
