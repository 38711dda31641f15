"""A run reproduced, compared, handed on and reproduced from the file, on a real engine."""

from __future__ import annotations

import getpass
import io
import json
import os
import re
import socket
import subprocess
import zipfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.test_end_to_end import ROOT, Bench

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]
VERDICTS = {0: {"reproduced"}, 5: {"not reproduced", "undecided", "not measured"}}


def typed(bench: Bench, *words: str) -> subprocess.CompletedProcess[str]:
    """A run that finds the host busy is suspect, never wrong: what is tested are the paths."""
    return subprocess.run(
        bench.argv(*words),
        cwd=bench.runs.parent,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def require_verdict(done: subprocess.CompletedProcess[str], run: str) -> None:
    """Of that run, and the exit code that belongs to it."""
    first = done.stdout.partition("\n")[0]
    found = re.fullmatch(rf"# {re.escape(run)}: ([a-z ]+?)(?:: .*)?", first)

    assert found is not None, done.stdout + done.stderr
    assert found[1] in VERDICTS[done.returncode], done.stdout + done.stderr


def test_a_run_is_reproduced_here_and_elsewhere(tmp_path: Path, cache: Path) -> None:
    """bench, reproduce, compare, export; import in another folder, reproduce from the file; nothing private in it,
    and nothing of a file that was altered."""
    mine = Bench(tmp_path / "runs", cache, "process")
    code, output = mine.run(users="1,2", duration_s=5.0)
    first = mine.run_folder.name
    assert 0 == code, output

    again = typed(mine, "reproduce", f"runs/{first}/u1")
    require_verdict(again, f"{first}/u1")
    second = mine.run_folder.name
    assert first != second
    assert ["u1"] == [p.name.rpartition("-")[2] for p in (mine.run_folder / "cells").iterdir()]
    for pin in ("client METHOD", "weights", "prompts", "engine version", "installed packages"):
        assert re.search(rf"^pin  {pin}: \S+( \S+)?$", again.stderr, re.MULTILINE), again.stderr

    compared = typed(mine, "compare", first, second, "--json")
    assert 0 == compared.returncode, compared.stderr
    (comparison,) = json.loads(compared.stdout)
    assert "the same cell" == comparison["paired_by"]
    assert "tokens_per_s" in {c["figure"] for c in comparison["contrasts"]}

    exported = typed(mine, "export", first)
    file = tmp_path / f"{first}.levelbench.zip"
    assert 0 == exported.returncode, exported.stderr
    texts = _texts(file)
    private = {
        socket.gethostname(),
        getpass.getuser(),
        str(tmp_path),
        str(cache),
        str(ROOT),
        str(Path.home()),
    } - {"root"}
    assert {} == {
        n: word
        for n, t in texts.items()
        for word in private
        if re.search(rf"(?<!\w){re.escape(word)}(?!\w)", t)
    }
    assert "load" in texts["logs/llama-cpp-current-tiny-defaults.log"]

    theirs = Bench(tmp_path / "other" / "runs", cache, "process")
    theirs.runs.parent.mkdir()
    from_file = typed(theirs, "reproduce", str(file))
    require_verdict(from_file, first)
    assert {first, theirs.run_folder.name} == {p.name for p in theirs.runs.iterdir() if not p.is_symlink()}
    assert "this checkout's own" not in from_file.stderr  # it made the very same plan of the request

    data = file.read_bytes()
    file.write_bytes(data.replace(b"PK\x01\x02", b"PK\x01\x03", 1))
    broken = typed(theirs, "import", str(file))
    assert 2 == broken.returncode
    assert "not as it was exported" in broken.stderr


def _texts(file: Path) -> dict[str, str]:
    """Every file as text, Parquet read."""
    with zipfile.ZipFile(file) as found:
        data = {name: found.read(name) for name in found.namelist()}
    return {
        name: str(pq.read_table(io.BytesIO(raw)).to_pylist()) if name.endswith(".parquet") else raw.decode()
        for name, raw in data.items()
    }
