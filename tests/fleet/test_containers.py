"""Jobs of a real Slurm whose engine is a real container: a host that is lost leaves it, the next worker removes it, and
a cancelled job takes its own down."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from orchestrator.fleet import publishing
from orchestrator.fleet.jobs import JobState
from orchestrator.fleet.slurm import Slurm, SlurmSettings
from orchestrator.runtime import owner
from orchestrator.store.runs import RunFolder
from tests.fleet.cluster import Cluster, cluster, missing
from tests.test_crashes import WORKLOAD
from tests.test_end_to_end import BASE, PROGRAM, ROOT, require_docker

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.docker,
    pytest.mark.engine,
    pytest.mark.timeout(400),
    pytest.mark.skipif(bool(missing()), reason=f"not installed: {', '.join(missing())}"),
]
GROUP = "llama-cpp-current-tiny-defaults"
MATRIX = """
title = "one engine, for ever"
seed = 1
runtime = "docker"
[axes]
backend = "llama-cpp"
model = "tiny"
workload = "long.toml"
users = 1
accelerator = "cpu"
"""


@pytest.fixture
def slurm(tmp_path: Path) -> Iterator[Cluster]:
    (tmp_path / "long.toml").write_text(
        WORKLOAD.replace("blink", "long").replace("duration_s = 0.6", "duration_s = 300")
    )
    (tmp_path / "matrix.toml").write_text(MATRIX)
    with cluster(tmp_path / "cluster") as made:
        yield made


@pytest.fixture
def driver(slurm: Cluster, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Real levelbench on both sides; each host has a lock of its own."""
    require_docker()
    cache = os.environ.get("LEVELBENCH_TEST_CACHE") or str(tmp_path / "cache")
    there = (
        f'export PYTHONPATH={ROOT} LEVELBENCH_LOCK="{tmp_path}/$SLURMD_NODENAME.lock"; cd {ROOT}; '
        f'exec {sys.executable} -c "{PROGRAM}" --cache {cache} "$@"'
    )
    command = ("matrix", str(tmp_path / "matrix.toml"), "--fleet", "slurm", "--partition", "gpu")
    with subprocess.Popen(
        (
            *(
                sys.executable,
                "-c",
                PROGRAM,
                "--runs",
                str(tmp_path / "runs"),
                "--base-image",
                BASE,
                *command,
            ),
            *("--host-command", shlex.join(("sh", "-c", there, "worker"))),
        ),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_no_container_outlives_its_job(slurm: Cluster, tmp_path: Path, driver: subprocess.Popen[str]) -> None:
    """Not even where the worker was killed with its host: the one that goes on removes it before it starts its own."""
    slurm.wait_for(lambda: len(_measuring(tmp_path)) == 1, 300)
    (path,) = (p for p in (tmp_path / "runs").iterdir() if not p.is_symlink())
    run, system = RunFolder(path), Slurm(SlurmSettings())
    first = _containers(run)
    slurm.power_off(publishing.attempts(run.path)[GROUP][0].host)
    left = _containers(run)
    slurm.wait_for(lambda: len(_measuring(tmp_path)) == 2, 200)
    second = _containers(run)
    system.cancel([job.id for job in system.jobs(run.id)])
    slurm.wait_for(lambda: system.jobs(run.id)[-1].state is JobState.CANCELLED, 100)
    said = driver.communicate(timeout=100)[0]

    assert 1 == len(first)
    assert first == left
    assert 1 == len(second)
    assert first != second
    assert set() == _containers(run)
    assert 4 == driver.returncode, said
    assert not publishing.published(run.path)


def _measuring(folder: Path) -> list[Path]:
    """Attempts whose engine is under load."""
    journals = (folder / "runs").glob("*/attempts/*/*/journal.jsonl")
    return [p for p in journals if not p.parents[3].is_symlink() and '"measure u1"' in p.read_text()]


def _containers(run: RunFolder) -> set[str]:
    client = docker.from_env()
    try:
        found = client.containers.list(all=True, filters={"label": f"{owner.OURS}=1"})
        return {str(c.id) for c in found if run.id in c.labels[owner.DEPLOYMENT]}
    finally:
        client.close()
