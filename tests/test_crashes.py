"""A night that is killed in the middle of anything, for real, and gone on with: nothing that had ended is lost or
measured again, nothing unfinished counts, nothing is left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from orchestrator.runtime.session import MARKER
from orchestrator.store.runs import RunFolder
from tests.test_end_to_end import marked

ROOT = Path(__file__).resolve().parent.parent
IN_TIME_S = 100.0
CELLS = 4
WORKLOAD = """
[blink]
title = "as short as can be"
users = [1, 2]
ramp_s = 0.2
duration_s = 0.6
window_s = 0.2
warmup_requests = 1
cuts_answers = true
prompts = { source = "own" }
sampling = { max_tokens = 4 }
"""
MATRIX = """
title = "two engines, two loads"
seed = 1

[axes]
backend = ["one", "two"]
model = "tiny"
workload = "blink.toml"
accelerator = "cpu"
"""

pytestmark = [
    pytest.mark.night,
    pytest.mark.timeout(240),
    pytest.mark.skipif(sys.platform != "linux", reason="kills process groups"),
]


@dataclass(frozen=True)
class Night:
    """`levelbench matrix` in a folder of its own."""

    folder: Path

    def start(self, hang: str = "", *words: str) -> subprocess.Popen[str]:
        command = words or ("matrix", str(self.folder / "matrix.toml"))
        return subprocess.Popen(
            [sys.executable, "-m", "tests.fakes.night_program", str(self.folder), hang, *command],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "LEVELBENCH_LOCK": str(self.folder / "host.lock")},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, *words: str, in_time_s: float = IN_TIME_S) -> tuple[int, str]:
        """Exit code and everything that was printed."""
        with self.start("", *words) as process:
            output = process.communicate(timeout=in_time_s)[0]
        return process.returncode, output

    def killed_at(self, hang: str) -> None:
        """Begin a night and kill it, its orchestrator alone, right after that line of the journal."""
        with self.start(hang) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if line == "hanging\n":
                    break
            else:
                pytest.fail(f"it never came to {hang}")
            process.send_signal(signal.SIGKILL)

    @property
    def run_folder(self) -> RunFolder:
        (path,) = (p for p in (self.folder / "runs").iterdir() if p.is_dir() and not p.is_symlink())
        return RunFolder.open(path)

    def sealed(self) -> dict[str, bytes]:
        """Every result that is written, byte for byte."""
        return {p.parent.name: p.read_bytes() for p in self.run_folder.path.glob("cells/*/result.json")}

    def events(self, name: str) -> list[dict[str, Any]]:
        return [e for e in self.run_folder.read_journal().entries if e["event"] == name]

    def left(self) -> list[int]:
        """Processes of engines of this night."""
        return [p.pid for p in marked() if self.run_folder.id in p.environ()[MARKER]]


@pytest.fixture
def night(tmp_path: Path) -> Night:
    (tmp_path / "blink.toml").write_text(WORKLOAD)
    (tmp_path / "matrix.toml").write_text(MATRIX)
    return Night(tmp_path)


@pytest.mark.parametrize(
    ("hang", "ended"),
    [
        ("run-began", 0),
        ("phase-began image", 0),
        ("phase-began weights", 0),
        ("phase-began up", 0),
        ("phase-began ready", 0),
        ("phase-began warm-up", 0),
        ("phase-began measure u2", 1),
        ("phase-ended measure u2", 1),
        ("phase-began down", 2),
        ("run-ended", 4),
    ],
)
def test_a_killed_night_is_gone_on_with(night: Night, hang: str, ended: int) -> None:
    """By the same command, whatever it was doing: what had ended is not touched, all else is measured once."""
    night.killed_at(hang)
    before = night.sealed()
    code, output = night.run() if hang != "run-ended" else night.run("resume", night.run_folder.id)

    assert 0 == code, output
    assert ended == len(before)
    assert before == {name: data for name, data in night.sealed().items() if name in before}
    assert CELLS == len(night.sealed())
    assert set(before) == {e["cell"] for e in night.events("cell-reused")}
    assert CELLS == len(night.events("cell-ended")) or hang == "run-ended"
    assert [] == night.left()
    assert night.run_folder.is_over
    for stored in night.run_folder.results():
        assert stored.result is not None, stored.reason
        assert stored.result.metrics is not None
        assert stored.result.metrics.completed > 0


def test_a_finished_night_is_followed_by_a_new_one(night: Night) -> None:
    """Only one that was cut short is gone on with."""
    assert 0 == night.run()[0]
    first = night.sealed()
    code, output = night.run()
    runs = [p for p in (night.folder / "runs").iterdir() if p.is_dir() and not p.is_symlink()]

    assert 0 == code, output
    assert 2 == len(runs)
    assert CELLS == len(first)
    assert "going on" not in output


def test_sigterm_ends_a_night_cleanly(night: Night) -> None:
    """130 after the teardown; the next night goes on."""
    with night.start() as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "measure u2 ..." in line:
                break
        began_s = time.monotonic()
        process.send_signal(signal.SIGTERM)
        output = process.communicate(timeout=IN_TIME_S)[0]

    assert 130 == process.returncode, output
    assert time.monotonic() - began_s < IN_TIME_S
    assert [] == night.left()
    assert [130] == [e["exit_code"] for e in night.events("run-stopped")]
    assert 0 == night.run()[0]
    assert CELLS == len(night.sealed())


def test_two_nights_at_once_are_one(night: Night) -> None:
    """The second names the first and ends with 3; it has touched nothing."""
    with night.start("phase-began ready") as first:
        assert first.stdout is not None
        for line in first.stdout:
            if line == "hanging\n":
                break
        code, output = night.run()
        (path,) = (p for p in (night.folder / "runs").iterdir() if p.is_dir() and not p.is_symlink())
        first.kill()

    assert 3 == code
    assert f"another run holds this host: process {first.pid} (levelbench matrix matrix.toml" in output
    assert path == night.run_folder.path


def test_a_changed_weight_of_evidence_is_measured_again(night: Night) -> None:
    """A result that was altered, or that rests on something else, is set aside and told; the rest is reused."""
    assert 0 == night.run()[0]
    run = night.run_folder
    altered, other, *_ = sorted(night.sealed())
    (run.path / "cells" / altered / "engine.log").write_text("altered")
    path = run.path / "cells" / other / "result.json"
    envelope = json.loads(path.read_text())
    assert envelope["result"]["content"]["image"] == "sha256:0"
    code, output = night.run("resume", run.id)

    assert 0 == code, output
    (event,) = night.events("cell-set-aside")
    assert (altered, ["engine.log was altered after it was written"]) == (event["cell"], event["why"])
    assert 3 == len(night.events("cell-reused"))
    assert (run.path / "superseded" / f"{altered}.1" / "result.json").exists()
