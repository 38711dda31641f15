"""The driver and the adapter against a real Slurm: a controller and three hosts, started here."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from orchestrator.errors import HostError, RequestError
from orchestrator.fleet import drive as driving
from orchestrator.fleet import publishing
from orchestrator.fleet.drive import Errand, Outcome, drive
from orchestrator.fleet.jobs import JobSpec, JobState
from orchestrator.fleet.slurm import Slurm, SlurmSettings
from orchestrator.fleet.worker import require_alone
from orchestrator.store.runs import RunFolder
from tests.fleet.cluster import HOSTS, Cluster, cluster, missing

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.timeout(300),
    pytest.mark.skipif(bool(missing()), reason=f"not installed: {', '.join(missing())}"),
]
ROOT = Path(__file__).resolve().parents[2]
A100 = SlurmSettings(partition="gpu", gres="gpu:a100:1")


@pytest.fixture
def slurm(tmp_path: Path) -> Iterator[Cluster]:
    with cluster(tmp_path / "cluster") as made:
        yield made


def spec(folder: Path, group: str, what: str, **more: Any) -> JobSpec:
    worker = (
        "env",
        f"PYTHONPATH={ROOT}",
        sys.executable,
        "-m",
        "tests.fleet.worker",
        str(folder),
        group,
        what,
    )
    seen = {"command": worker, "minutes": 5} | more
    return JobSpec(run="night", group=group, log_path=PurePosixPath(folder / f"{group}.log"), **seen)


def errand(folder: Path, jobs: Mapping[str, str]) -> tuple[Errand, list[str]]:
    run = RunFolder(folder) if (folder / "run.json").exists() else RunFolder.create_at(folder, {})
    said: list[str] = []
    made = Errand(
        run="night",
        folder=folder,
        specs={group: spec(folder, group, what) for group, what in jobs.items()},
        journal=run.journal,
        journalled=lambda: run.read_journal().entries,
        say=said.append,
    )
    return made, said


def driven(
    folder: Path, jobs: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> tuple[Outcome, list[str]]:
    monkeypatch.setattr(driving, "POLL_S", 0.5)
    monkeypatch.setattr(driving, "GRACE_S", 1.0)
    made, said = errand(folder, jobs)
    return drive(made, Slurm(A100)), said


def test_a_matrix_over_three_hosts_with_a_flaky_and_a_broken_group(
    slurm: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole hosts, one group each; a lost try goes to another host; three are enough."""
    jobs = {"a": "takes=2", "b": "takes=2", "c": "takes=2", "flaky": "dies-once", "broken": "dies"}
    outcome, said = driven(tmp_path / "run", jobs, monkeypatch)
    tries = publishing.attempts(tmp_path / "run")

    assert {"a", "b", "c", "flaky"} == set(outcome.published)
    assert 3 == len({tries[g][0].host for g in "abc"})
    assert 2 == len({a.host for a in tries["flaky"]})
    assert 3 == len({a.host for a in tries["broken"]})
    assert "3 tries ended without a result" in outcome.given_up["broken"]
    assert any(text.startswith("broken: no result from gpu") for text in said)


def test_a_host_is_lost_together_with_the_driver(
    slurm: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slurm runs the very same job elsewhere, and the driver that is started again finds it: nothing is submitted
    twice, and what was done stays done."""
    folder = tmp_path / "run"
    jobs = {"done": "takes=0", "lost": "takes=12"}
    first = _driver(folder, jobs)
    try:
        slurm.wait_for(
            lambda: "done" in publishing.published(folder) and "lost" in publishing.attempts(folder)
        )
        slurm.power_off(publishing.attempts(folder)["lost"][0].host)
    finally:
        first.send_signal(signal.SIGKILL)
        first.wait(10)
    outcome, _ = driven(folder, jobs, monkeypatch)
    submitted = [
        e["group"] for e in RunFolder(folder).read_journal().entries if e["event"] == "job-submitted"
    ]
    tries = publishing.attempts(folder)["lost"]

    assert {"done", "lost"} == set(outcome.published)
    assert ["done", "lost"] == sorted(submitted)
    assert 2 == len({a.host for a in tries})
    assert 1 == len({a.id.partition(".")[0] for a in tries})
    assert 1 == len(publishing.attempts(folder)["done"])


def test_a_controller_that_is_killed_right_after_a_submission_loses_nothing(
    slurm: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    jobs = {"a": "takes=1", "b": "takes=1", "c": "takes=1", "d": "takes=1"}
    first = _driver(folder, jobs)
    try:
        slurm.wait_for(lambda: _submitted(folder) == len(jobs))
    finally:
        first.send_signal(signal.SIGKILL)
        first.wait(10)
        slurm.kill_controller()
    slurm.start_controller()
    outcome, _ = driven(folder, jobs, monkeypatch)

    assert set(jobs) == set(outcome.published)
    assert {} == outcome.given_up


def test_both_sides_of_a_network_split_live_and_one_result_counts(
    slurm: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The host that does not answer goes on; Slurm starts the job elsewhere; the first to end is the one."""
    folder = tmp_path / "run"
    first = _driver(folder, {"a": "takes=30"})
    slurm.wait_for(lambda: "a" in publishing.attempts(folder))
    host = publishing.attempts(folder)["a"][0].host
    slurm.freeze(host)
    try:
        slurm.wait_for(lambda: len(publishing.attempts(folder)["a"]) == 2, 120)
        slurm.wait_for(lambda: "a" in publishing.published(folder), 120)
        winner = publishing.published(folder)["a"].attempt
    finally:
        slurm.thaw(host)
        first.wait(60)
    time.sleep(1)

    assert 0 == first.returncode
    assert winner == publishing.published(folder)["a"].attempt


def test_an_unknown_gpu_is_refused_in_slurms_own_words(slurm: Cluster, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="Requested node configuration is not available"):
        Slurm(SlurmSettings(partition="gpu", gres="gpu:h100:1")).submit(spec(tmp_path, "a", "takes=0"))


def test_a_controller_that_is_away_is_no_empty_queue(slurm: Cluster) -> None:
    slurm.kill_controller()

    with pytest.raises(HostError, match="does not answer"):
        Slurm(A100).jobs("night")
    slurm.start_controller()


def test_what_the_submitters_shell_holds_stays_there(
    slurm: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token reaches a job only from a file on its host."""
    monkeypatch.setenv("HF_TOKEN", "planted-in-the-shell")
    (tmp_path / "token").write_text("from-the-host")
    seen = tmp_path / "seen"
    show = ("sh", "-c", f'printf %s "$HF_TOKEN" > {seen}.part && mv {seen}.part {seen}')
    Slurm(A100).submit(spec(tmp_path, "a", "", command=show, token_path=PurePosixPath(tmp_path / "token")))
    slurm.wait_for(seen.exists)
    told = slurm.run("scontrol", "show", "job", "1")
    kept = b"".join(p.read_bytes() for p in (slurm.folder / "state").rglob("*") if p.is_file())

    assert "from-the-host" == seen.read_text()
    assert "planted" not in told
    assert b"planted" not in kept


def test_a_worker_beside_somebody_elses_job_measures_nothing(tmp_path: Path) -> None:
    """OverSubscribe=FORCE, where Slurm does not count memory: a whole host that was asked for is shared all the same.
    The host is at fault then, not the group; it says who is there and what to change."""
    with cluster(tmp_path / "cluster", select="CR_Core") as made:
        system = Slurm(SlurmSettings(partition="shared"))
        pinned = {"command": ("sleep", "100"), "host": HOSTS[0]}
        ours = system.submit(spec(tmp_path, "a", "", **pinned))
        made.wait_for(lambda: _state(system, "a") is JobState.RUNNING)
        require_alone({"SLURM_JOB_ID": ours, "SLURMD_NODENAME": HOSTS[0]})
        theirs = made.run(
            "sbatch", "--parsable", "-p", "shared", "-w", HOSTS[0], "--wrap", "sleep 100"
        ).strip()
        made.wait_for(lambda: system.neighbours(HOSTS[0], ours) == (theirs,))

        with pytest.raises(HostError, match=f"other jobs on {HOSTS[0]}: {theirs}") as caught:
            require_alone({"SLURM_JOB_ID": ours, "SLURMD_NODENAME": HOSTS[0]})
    assert "OverSubscribe=FORCE" in caught.value.hint


def test_cancelling_signals_the_worker_itself(slurm: Cluster, tmp_path: Path) -> None:
    """`exec`: bash would wait for its child, and the child would be killed without a word."""
    said = tmp_path / "said"
    code = (
        "import pathlib, signal, sys, time\n"
        f"signal.signal(signal.SIGTERM, lambda *_: (pathlib.Path({str(said)!r}).write_text('torn down'), sys.exit()))\n"
        f"pathlib.Path({str(tmp_path / 'up')!r}).touch()\n"
        "time.sleep(60)\n"
    )
    system = Slurm(A100)
    number = system.submit(spec(tmp_path, "a", "", command=(sys.executable, "-c", code)))
    slurm.wait_for((tmp_path / "up").exists)
    system.cancel([number])
    slurm.wait_for(said.exists)
    slurm.wait_for(lambda: _state(system, "a") is JobState.CANCELLED)

    assert "torn down" == said.read_text()


def _state(system: Slurm, group: str) -> JobState | None:
    return next((job.state for job in reversed(system.jobs("night")) if job.group == group), None)


def _submitted(folder: Path) -> int:
    run = RunFolder(folder)
    return sum(e["event"] == "job-submitted" for e in run.read_journal().entries)


def _driver(folder: Path, jobs: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """A driver in a process of its own, to be killed."""
    code = (
        "import sys, json\n"
        "from pathlib import Path\n"
        "from orchestrator.fleet import drive as driving\n"
        "from tests.fleet.test_slurm import A100, errand\n"
        "from orchestrator.fleet.slurm import Slurm\n"
        "driving.POLL_S, driving.GRACE_S = 0.5, 1.0\n"
        "driving.drive(errand(Path(sys.argv[1]), json.loads(sys.argv[2]))[0], Slurm(A100))\n"
    )
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, "-c", code, str(folder), json.dumps(jobs)], env=env, cwd=ROOT)
