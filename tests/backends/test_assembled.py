"""dockerfiles/context/assembled.py, run as a program."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).resolve().parents[2] / "dockerfiles" / "context" / "assembled.py"
LIST = "import pathlib, sys; print(*sorted(p.name for p in pathlib.Path(sys.argv[1]).iterdir()))"


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(PROGRAM), *words], capture_output=True, text=True, timeout=30, check=False
    )


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    for name in ("weights/shard", "weights/index.json", "config/index.json", "config/chat.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name, "utf-8")
    return tmp_path


def test_folders_are_joined_by_links(parts: Path) -> None:
    """Each entry of each source lies in the folder, none was copied, and the command sees them."""
    folder = parts / "made" / "model"
    words = (f".={parts / 'weights'}", f".={parts / 'config'}", "exec", sys.executable, "-c", LIST)
    done = run(str(folder), *words, str(folder))

    assert ("chat.json index.json shard\n", 0) == (done.stdout, done.returncode)
    assert (folder / "shard").is_symlink()
    assert "config/chat.json" == (folder / "chat.json").read_text("utf-8")


def test_the_first_to_name_an_entry_keeps_it(parts: Path) -> None:
    """A later source fills gaps only, so a file's older name is taken where the new one is missing."""
    words = (f".={parts / 'weights'}", f".={parts / 'config'}", f"index.json={parts / 'nowhere'}")
    done = run(str(parts / "made"), *words, "exec", sys.executable, "-c", "")

    assert 0 == done.returncode
    assert "weights/index.json" == (parts / "made" / "index.json").read_text("utf-8")


def test_a_repository_is_put_together(parts: Path) -> None:
    """Files get new names in folders that are made for them, and folders may be empty."""
    words = (f"one/config.pbtxt={parts / 'config' / 'chat.json'}", f"one/1={parts / 'weights'}", "two/1/")
    done = run(str(parts / "made"), *words, "exec", sys.executable, "-c", "")

    assert 0 == done.returncode
    assert "config/chat.json" == (parts / "made" / "one" / "config.pbtxt").read_text("utf-8")
    assert (parts / "made" / "one" / "1" / "shard").is_file()
    assert [] == list((parts / "made" / "two" / "1").iterdir())


def test_the_command_takes_the_programs_place(parts: Path) -> None:
    """Its exit code is the program's."""
    done = run(str(parts / "made"), "a/", "exec", sys.executable, "-c", "raise SystemExit(7)")

    assert 7 == done.returncode


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "usage: assembled.py"),
        (("made", "a/"), "usage: assembled.py"),
        (("made", "a/", "exec"), "usage: assembled.py"),
        (("made", ".=nowhere", "exec", "true"), "nowhere is not there: the step or the image that makes it"),
        (("made", "a=nowhere", "exec", "true"), "nowhere is not there"),
        (("made", "a/", "exec", "no-such-program"), "cannot run no-such-program: No such file"),
    ],
)
def test_what_is_missing_is_told(
    words: tuple[str, ...], message: str, parts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the engine starts, with what to look at."""
    monkeypatch.chdir(parts)
    done = run(*words)

    assert 1 == done.returncode
    assert message in done.stderr
