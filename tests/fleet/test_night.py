"""A whole matrix over a real Slurm: real drivers, workers, engines' processes and load client; the engine is a small
program."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from orchestrator.fleet import publishing
from orchestrator.fleet.jobs import JobState
from orchestrator.fleet.slurm import Slurm, SlurmSettings
from orchestrator.runtime.session import MARKER
from orchestrator.store.runs import RunFolder
from tests.fleet.cluster import Cluster, cluster, missing
from tests.fleet.sshd import NAME, sshd
from tests.test_crashes import MATRIX, WORKLOAD
from tests.test_end_to_end import marked

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.timeout(300),
    pytest.mark.skipif(bool(missing()), reason=f"not installed: {', '.join(missing())}"),
]
IN_TIME_S = 200.0
DONE, LOST = "one-current-tiny-defaults", "two-current-tiny-defaults"
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def slurm(tmp_path: Path) -> Iterator[Cluster]:
    (tmp_path / "blink.toml").write_text(WORKLOAD)
    (tmp_path / "matrix.toml").write_text(f'runtime = "process"\n{MATRIX}')
    with cluster(tmp_path / "cluster") as made:
        yield made


def driver(folder: Path, *words: str, hang: str = "", path: str = "") -> subprocess.Popen[str]:
    """`levelbench matrix --fleet slurm`; each host has a lock and a cache of its own, as hosts do. `path` goes before a
    host's PATH."""
    there = (
        f'export PATH="{path}:$PATH"; mkdir -p "{folder}/$SLURMD_NODENAME"; export PYTHONPATH={ROOT} '
        f'LEVELBENCH_LOCK="{folder}/$SLURMD_NODENAME/lock"; cd {ROOT}; '
        f'exec {sys.executable} -m tests.fakes.night_program "{folder}/$SLURMD_NODENAME" '
        f'"$(cat {folder}/hang)" "$@"'
    )
    (folder / "hang").write_text(hang)
    command = ("matrix", str(folder / "matrix.toml"), "--fleet", "slurm", "--partition", "gpu")
    return subprocess.Popen(
        (
            *(sys.executable, "-m", "tests.fakes.night_program", str(folder), "", *command),
            *("--host-command", shlex.join(("sh", "-c", there, "worker")), *words),
        ),
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def ended(process: subprocess.Popen[str]) -> tuple[subprocess.Popen[str], str]:
    """A driver that came to its end, and what it said; one that does not is killed, and its words are the failure."""
    try:
        return process, process.communicate(timeout=IN_TIME_S)[0]
    except subprocess.TimeoutExpired:
        process.kill()
        pytest.fail(f"it did not end:\n{process.communicate()[0]}")


def only_run(folder: Path) -> RunFolder:
    (path,) = (p for p in (folder / "runs").iterdir() if not p.is_symlink())
    return RunFolder(path)


def test_a_matrix_over_hosts_becomes_one_run(slurm: Cluster, tmp_path: Path) -> None:
    """Every cell is in the run's own folder, sealed, with the host and the attempt that measured it."""
    process, said = ended(driver(tmp_path, "--pin", "tiny=gpu2"))
    run = only_run(tmp_path)
    stored = run.results()

    assert 0 == process.returncode, said
    assert 4 == len(stored)
    assert {"gpu2"} == {s.result.placed.host for s in stored if s.result and s.result.placed}
    assert "done on gpu2, every cell has figures" in said
    assert run.is_over
    assert (run.path / "report.md").exists()


def test_a_cancelled_job_takes_its_engine_down_and_is_not_sent_again(slurm: Cluster, tmp_path: Path) -> None:
    process = driver(tmp_path, hang="phase-began measure u1")
    system = Slurm(SlurmSettings())
    try:
        slurm.wait_for(lambda: (tmp_path / "runs").exists() and len(_hanging(tmp_path)) == 2, 120)
        run = only_run(tmp_path)
        engines = [json.loads(p.environ()[MARKER]) for p in _engines(run)]
        system.cancel([job.id for job in system.jobs(run.id)])
        slurm.wait_for(lambda: all(job.state is JobState.CANCELLED for job in system.jobs(run.id)), 60)
        said = process.communicate(timeout=120)[0]
    finally:
        process.kill()
        process.communicate()

    assert 4 == process.returncode, said
    assert "cancelled by somebody" in said
    assert 2 == len({engine["levelbench.deployment"] for engine in engines})
    assert not publishing.published(run.path)
    assert [] == _engines(run)


def test_a_driver_that_was_killed_goes_on(slurm: Cluster, tmp_path: Path) -> None:
    first = driver(tmp_path)
    slurm.wait_for(lambda: "job-submitted" in _journal(tmp_path), 120)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    second, said = ended(driver(tmp_path))
    run = only_run(tmp_path)
    events = [json.loads(line) for line in _journal(tmp_path).splitlines()]

    assert 0 == second.returncode, said
    assert "going on with" in said
    assert 2 == sum(e["event"] == "job-submitted" for e in events)
    assert 4 == len(run.results())


def test_results_come_without_a_shared_folder(slurm: Cluster, tmp_path: Path) -> None:
    """The driver sees the login node over ssh alone, and so do the hosts: the plan goes along with each job, attempts
    are sent and published on the login node, and brought from there."""
    there = tmp_path / "login-node" / "runs"
    with sshd(tmp_path / "ssh", SLURM_CONF=str(slurm.config)):
        words = ("--login", NAME, "--results", str(there), "--push", NAME)
        process, said = ended(driver(tmp_path, *words, path=f"{tmp_path}/ssh/bin"))
    run = only_run(tmp_path)
    on_hosts = Path("~/.cache/levelbench/fleet").expanduser()

    assert 0 == process.returncode, said
    assert 4 == len([s for s in run.results() if s.result and s.result.metrics])
    assert 2 == len(publishing.published(there / run.id))
    assert publishing.published(there / run.id) == publishing.published(run.path)
    assert 2 == len(list(run.path.glob("attempts/*/*/journal.jsonl")))
    assert [] == list(on_hosts.glob(f"*/{run.id}/attempts/*/*/"))
    for left in on_hosts.glob(f"*/{run.id}"):
        shutil.rmtree(left)


def test_a_host_is_lost_together_with_the_orchestrator(slurm: Cluster, tmp_path: Path) -> None:
    """In the middle of a group, when another one is done. Slurm runs the very same job on another host, the same command
    finds it, and what was done stays as it was."""
    first = driver(tmp_path, hang=f"cell-ended {LOST}-u1")
    try:
        slurm.wait_for(lambda: (tmp_path / "runs").exists() and _has_ended(tmp_path, f"{LOST}-u1"), 120)
        run = only_run(tmp_path)
        slurm.wait_for(lambda: set(publishing.published(run.path)) == {DONE}, 120)
        before = publishing.published(run.path)[DONE]
        slurm.power_off(publishing.attempts(run.path)[LOST][0].host)
    finally:
        first.kill()
        first.communicate()
    second, said = ended(driver(tmp_path))
    tries = publishing.attempts(run.path)[LOST]

    assert 0 == second.returncode, said
    assert before == publishing.published(run.path)[DONE]
    assert 2 == _journal(tmp_path).count('"job-submitted"')
    assert 2 == len({attempt.host for attempt in tries})
    assert publishing.published(run.path)[LOST].attempt == tries[-1]
    assert 4 == len([s for s in run.results() if s.result and s.result.metrics])
    assert {before.attempt.id, tries[-1].id} == {
        s.result.placed.attempt for s in run.results() if s.result and s.result.placed
    }


def _has_ended(folder: Path, cell: str) -> bool:
    journals = (folder / "runs").glob("*/attempts/*/*/journal.jsonl")
    return any('"cell-ended"' in text and cell in text for text in (p.read_text() for p in journals))


def _journal(folder: Path) -> str:
    return "".join(
        p.read_text() for p in (folder / "runs").glob("*/journal.jsonl") if not p.parent.is_symlink()
    )


def _hanging(folder: Path) -> list[Path]:
    """Attempts whose journal says that they measure."""
    journals = (folder / "runs").glob("*/attempts/*/*/journal.jsonl")
    return [p for p in journals if not p.parents[3].is_symlink() and "measure u1" in p.read_text()]


def _engines(run: RunFolder) -> list[psutil.Process]:
    """The processes of this run's engines, on whichever host."""
    return [p for p in marked() if run.id in p.environ()[MARKER]]
