"""What every runtime promises, over all three implementations; the fake included, or tests above it lie."""

from __future__ import annotations

import dataclasses
import json
import os
import time
from typing import Any

import psutil
import pytest

from backends.contract import SpecFile
from orchestrator.errors import Interrupted
from orchestrator.host.pinning import pinned
from orchestrator.runtime.interface import JobEnd, JobSpec, State
from tests.fakes.runtime import FakeRuntime
from tests.runtime import made
from tests.runtime.made import Bench

KILL_MARGIN_S = 5.0


def test_a_deployment_answers_under_its_url_and_runs(bench: Bench) -> None:
    """Up gives an address that serves, and the state says so."""
    deployment = bench.serving()

    assert made.get(deployment, "/v1/models")
    assert State(running=True) == bench.runtime.state(deployment)


def test_placeholders_are_filled_in(real_bench: Bench) -> None:
    """What a deployment says of its argv is what runs: no placeholder is left."""
    deployment = real_bench.up()

    assert [] == [word for word in deployment.argv if "{" in word]
    assert "serve" == deployment.argv[2]


def test_what_would_be_started_is_what_is_started(bench: Bench) -> None:
    """Word for word and without starting anything, but for a port that is chosen only then."""
    spec = made.deployment_spec(bench.folder, bench.image)
    rendered = bench.runtime.rendered(spec)
    deployment = bench.runtime.up(spec)
    bench.live.append(deployment)
    filled = tuple(word.replace("{port}", str(deployment.port)) for word in rendered.argv)

    if bench.runtime.version != FakeRuntime.version:
        assert deployment.argv == filled
    assert deployment.env == rendered.env


def test_what_was_taken_down_runs_and_answers_no_more(bench: Bench) -> None:
    """Down is down: state, usage and address agree."""
    deployment = bench.serving()

    bench.runtime.down(deployment)

    assert not bench.runtime.state(deployment).running
    assert bench.runtime.usage(deployment) is None
    assert not made.answers(deployment)


def test_the_processes_of_an_engine_are_ours(bench: Bench) -> None:
    """Their numbers are those of this host; another engine's are not among them; gone is gone."""
    one, other = bench.serving(), bench.serving()
    pids = bench.runtime.pids(one) or frozenset()

    assert pids
    assert all(psutil.pid_exists(pid) for pid in pids)
    if bench.runtime.version != "fake 1":
        assert not pids & (bench.runtime.pids(other) or pids)
        assert any("stub_engine.py" in " ".join(psutil.Process(pid).cmdline()) for pid in pids)
    bench.runtime.down(one)
    assert frozenset() == bench.runtime.pids(one)


def test_an_engine_stays_on_the_cpus_that_it_was_given(real_bench: Bench) -> None:
    """Whatever this process itself is kept to."""
    *_, last = sorted(made.allowed_cpus())
    with pinned({min(made.allowed_cpus())}):
        deployment = real_bench.serving(cpus=(last,))

    assert [last] == json.loads(made.get(deployment, "/cpus"))


def test_down_twice_is_down(bench: Bench) -> None:
    """A second teardown finds nothing and does not mind."""
    deployment = bench.up()

    bench.runtime.down(deployment)
    bench.runtime.down(deployment)

    assert not bench.runtime.state(deployment).running


def test_the_log_holds_the_last_words(bench: Bench) -> None:
    """What an engine writes while it is asked to stop stands in the log after down."""
    deployment = bench.serving()

    bench.runtime.down(deployment)

    assert deployment.log_path.read_text().endswith("stub engine's last words\n")


def test_two_deployments_do_not_touch_each_other(bench: Bench) -> None:
    """Taking one down leaves the other serving."""
    one, other = bench.serving(), bench.serving()

    bench.runtime.down(one)

    assert one.url != other.url
    assert made.answers(other)
    assert bench.runtime.state(other).running


def test_nothing_is_reaped_while_its_owner_lives(bench: Bench) -> None:
    """A living orchestrator's engine is never taken for a dead one's."""
    deployment = bench.serving()

    assert deployment.name not in bench.runtime.reap()
    assert made.answers(deployment)


def test_usage_counts_what_the_engine_did(real_bench: Bench) -> None:
    """A fifth of a second of work shows up as CPU time; memory is that of a small Python program."""
    deployment = real_bench.serving()
    before = real_bench.runtime.usage(deployment)
    made.get(deployment, "/burn")
    after = real_bench.runtime.usage(deployment)

    assert before is not None
    assert after is not None
    assert 0.15 < after.cpu_s - before.cpu_s < 2.0
    assert 4 * 2**20 < after.memory_bytes < 200 * 2**20
    assert 1 <= after.processes <= 2


def test_an_engine_that_is_killed_is_seen_at_the_next_look(real_bench: Bench) -> None:
    """SIGKILL from outside reads 137, as Docker and shells count."""
    deployment = real_bench.serving()

    real_bench.kill(deployment)
    made.wait_for(lambda: not real_bench.runtime.state(deployment).running)

    assert State(running=False, exit_code=137) == real_bench.runtime.state(deployment)


def test_an_engine_that_ends_at_once_leaves_code_and_log(real_bench: Bench) -> None:
    """Exit code and last words are there as soon as the state says that it has ended."""
    deployment = real_bench.up(made.serve("exit"))

    made.wait_for(lambda: not real_bench.runtime.state(deployment).running)

    assert State(running=False, exit_code=3) == real_bench.runtime.state(deployment)
    assert "stub engine starts\nstub engine cannot go on\n" == deployment.log_path.read_text()


def test_an_engine_deaf_to_sigterm_is_killed(real_bench: Bench) -> None:
    """It gets its time, and no more."""
    deployment = real_bench.serving(made.serve("deaf", stop_s=1.0))
    began_s = time.monotonic()

    real_bench.runtime.down(deployment)

    assert 1.0 <= time.monotonic() - began_s < 1.0 + KILL_MARGIN_S
    assert not made.answers(deployment)


def test_the_engine_gets_no_environment_of_ours(real_bench: Bench) -> None:
    """Only what its adapter asked for, and what the runtime needs to set."""
    env = made.get(real_bench.serving(), "/env")

    assert '"STUB_CACHE"' in env
    assert "PIP_NO_INDEX" not in env
    assert "PYTEST" not in env


# Jobs: a step is run to its end.

ENDED = State(running=False, exit_code=0)


def run(bench: Bench, job: JobSpec, said: list[str] | None = None) -> JobEnd:
    return bench.runtime.run(job, (said if said is not None else []).append, lambda: None)


def told(job: JobSpec) -> dict[str, Any]:
    """What the stub found where it ran."""
    found: dict[str, Any] = json.loads((job.out_dir / "inner" / "told.json").read_text())
    return found


def test_a_job_ends_and_leaves_its_output(bench: Bench) -> None:
    """What it made stands in the output folder, its words in the log; the newest line was heard."""
    job, said = bench.job(), list[str]()
    end = run(bench, job, said)

    assert (ENDED, "") == (end.state, end.late)
    assert b"engine" == (job.out_dir / "engine.bin").read_bytes()
    assert "stub step starts" == job.log_path.read_text().splitlines()[0]
    assert "100 %" == said[-1]


def test_what_the_watcher_raises_ends_a_job(bench: Bench) -> None:
    """An interrupt, for instance; nothing of the job is left, as its log shows."""
    job = bench.job(made.step("hang"))

    def watch() -> None:
        if job.log_path.exists() and job.log_path.stat().st_size:
            raise Interrupted("interrupted by SIGINT")

    with pytest.raises(Interrupted):
        bench.runtime.run(job, lambda _: None, watch)

    assert job.name not in bench.runtime.reap(dry_run=True)


def test_a_job_gets_what_it_asked_for_and_cannot_change_it(real_bench: Bench) -> None:
    """Files, an earlier step's output and the weights are read; only in a container are they read-only."""
    earlier = real_bench.folder / "earlier"
    earlier.mkdir(exist_ok=True)
    earlier.chmod(0o755)
    (earlier / "plan").write_text("earlier")
    words = ("{config}/a/b.json", "{step:convert}/plan")
    step = made.step(
        "work", *words, files=(SpecFile(path="a/b.json", text="in {out}"),), env={"X": "{model}"}
    )
    job = real_bench.job(step, steps={"convert": earlier, "other": real_bench.folder / "nowhere"})

    assert ENDED == run(real_bench, job).state
    found = told(job)
    place = found["texts"][0].removeprefix("in ")
    assert ["earlier", True] == [
        found["texts"][1],
        place == "/levelbench/steps/build" or place == str(job.out_dir),
    ]
    if real_bench.runtime.kind.value == "docker":
        assert ([], False, 1000) == (found["writable"], found["network"], found["uid"])


def test_a_jobs_output_is_ours(real_bench: Bench) -> None:
    """Whoever wrote it, and however tightly it was closed."""
    job = real_bench.job()
    run(real_bench, job)

    assert {os.getuid()} == {p.stat().st_uid for p in job.out_dir.rglob("*")}
    assert {"engine.bin", "inner", "told.json"} == {p.name for p in job.out_dir.rglob("*")}


def test_a_job_gets_no_environment_of_ours(real_bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Least of all a token."""
    monkeypatch.setenv("HF_TOKEN", "secret")
    job = real_bench.job()
    run(real_bench, job)

    assert not {"HF_TOKEN", "PIP_NO_INDEX"} & set(told(job)["env"])


def test_ulimits_hold_for_jobs_and_engines(real_bench: Bench) -> None:
    """What an adapter asks for is in force inside."""
    job = real_bench.job(made.step(ulimits={"nofile": 321}))
    run(real_bench, job)

    assert 321 == told(job)["nofile"]


def test_a_job_that_fails_leaves_code_and_log(real_bench: Bench) -> None:
    """The exit code is the tool's own."""
    job = real_bench.job(made.step("fail"))

    assert State(running=False, exit_code=3) == run(real_bench, job).state
    assert "stub step starts\nno room for the engine\n" == job.log_path.read_text()


def test_a_job_that_hangs_is_ended_by_its_deadline(real_bench: Bench) -> None:
    """With everything that it started; the reason is told in words."""
    job = real_bench.job(made.step("hang", deadline_s=1.5))
    began_s = time.monotonic()
    end = run(real_bench, job)

    assert "did not end in 1.5 s" == end.late
    assert 1.5 <= time.monotonic() - began_s < 1.5 + 2 * KILL_MARGIN_S
    assert job.name not in real_bench.runtime.reap(dry_run=True)


def test_the_most_memory_of_a_job_is_seen(real_bench: Bench) -> None:
    """64 MiB that are held for a second, and a small Python program."""
    end = run(real_bench, real_bench.job(made.step("hoard", "64")))

    assert 64 * 2**20 < end.peak_memory_bytes < 160 * 2**20
    assert 1.0 < end.wall_s < 20.0


def test_an_engine_reads_files_and_steps(real_bench: Bench) -> None:
    """A deployment's placeholders are those of a step."""
    earlier = real_bench.folder / "earlier"
    earlier.mkdir(exist_ok=True)
    earlier.chmod(0o755)
    (earlier / "stub_engine.py").write_text(made.STUB.read_text())
    argv = ("python3", "{step:build}/stub_engine.py", "serve", "{bind}", "{port}")
    serve = made.serve(argv=argv, files=(SpecFile(path="x", text="{port}"),), env={"X": "{config}/x"})
    spec = made.deployment_spec(real_bench.folder, real_bench.image, serve)
    deployment = real_bench.runtime.up(dataclasses.replace(spec, steps={"build": earlier}))
    real_bench.live.append(deployment)
    made.wait_for(lambda: made.answers(deployment))

    assert str(deployment.port) == (spec.config_dir / "x").read_text()
    assert deployment.env["X"].endswith("/x")
