"""The command as a person types it: exit codes, words on stderr, outcomes on stdout."""

from __future__ import annotations

import gc
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from backends import load_backends
from orchestrator import bench, invocation
from orchestrator.cli import app, main
from orchestrator.cli.options import size_bytes
from orchestrator.errors import BenchError, CellError, HostError, RequestError
from orchestrator.host import facts
from orchestrator.host.findings import Check
from orchestrator.host.locks import host_lock
from orchestrator.store.runs import RunFolder
from tests.fakes.client import FakeClient
from tests.fakes.runtime import FakeRuntime
from tests.report import made
from tests.test_invocation import IDLE

ROOT = Path(__file__).resolve().parent.parent
TOKEN = "hf_planted_secret"  # noqa: S105 - planted, to see that it goes nowhere
QUICK = ("--model", "tiny", "--users", "1", "--duration", "1")
PROGRAM = "from orchestrator.cli import main; main()"

# docker-py leaves its socket unclosed when nothing listens at the address.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """What docker-py left open is closed within the test that opened it."""
    yield
    gc.collect()


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting comes from the environment of whoever runs the tests."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "DOCKER_HOST", "DOCKER_CONTEXT"):
        monkeypatch.delenv(name, raising=False)
    for name in [name for name in os.environ if name.startswith("LEVELBENCH_")]:
        monkeypatch.delenv(name)


class Typed:
    """`levelbench` in this process, in a folder of its own, without a daemon."""

    def __init__(self, folder: Path) -> None:
        self.runs = folder / "runs"
        self.cache = folder / "cache"
        self._settings = ("--runs", str(self.runs), "--cache", str(self.cache))

    def __call__(self, *words: str, daemon: str = "unix:///nonexistent") -> Any:
        return CliRunner().invoke(app, [*self._settings, "--docker-host", daemon, *words])

    def error(self, *words: str) -> BenchError:
        """The error that the command ends in; nothing was written into runs."""
        found = self(*words).exception
        assert isinstance(found, BenchError), found
        assert found.hint, "every error prints a next step"
        assert not self.runs.exists()
        return found


@pytest.fixture
def typed(tmp_path: Path) -> Typed:
    return Typed(tmp_path)


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> FakeRuntime:
    """An engine and a client that are fakes, wherever they were to run."""
    fake = FakeRuntime(gets=IDLE)
    monkeypatch.setattr(invocation, "choose", lambda *_, **__: (fake, ()))
    monkeypatch.setattr(bench, "LoadClient", FakeClient)
    return fake


def levelbench(*words: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """`levelbench` as a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *words],
        cwd=cwd,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": str(cwd), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


# What was asked for: exit 2.


def test_names_are_judged_before_the_host_is_waited_for(typed: Typed, tmp_path: Path) -> None:
    """Who mistyped is told at once, not after the run that holds this host."""
    lock = ("--lock", str(tmp_path / "host.lock"))
    with host_lock(tmp_path / "host.lock", "levelbench bench"):
        mistyped, busy = typed(*lock, "bench", "--backend", "vlm").exception, typed(*lock, "bench").exception

    assert isinstance(mistyped, RequestError)
    assert "unknown backend 'vlm'" in str(mistyped)
    assert isinstance(busy, HostError)
    assert "another run holds this host" in str(busy)


@pytest.mark.parametrize("command", ["bench", "plan"])
@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        ("--backend vlm", "unknown backend 'vlm'. Did you mean 'vllm'?", "known: llama-cpp, "),
        ("--backend llama-cpp,nix", "unknown backend 'nix'.", "known: llama-cpp, "),
        (
            "--model smal",
            "unknown model 'smal'. Did you mean 'small'?",
            "known: 70b-4bit, 70b-awq, 70b-int4-awq",
        ),
        ("--workload articel", "unknown workload 'articel'. Did you mean 'article'?", "known: article"),
        ("--release curent", "unknown release of llama-cpp 'curent'. Did you mean 'current'?", "known: "),
        (
            "--profile published",
            "llama-cpp: llama.cpp current has no published settings",
            "try PROFILE=defaults",
        ),
        ("--backend ,", "no backend was named", "for example BACKEND=llama-cpp"),
        ("--users one", "users 'one' are not numbers", "for example USERS=10,50,100"),
        ("--users 1,2.5", "users '1,2.5' are not numbers", "for example USERS=10,50,100"),
        ("--users ,", "users ',' are not numbers", "for example USERS=10,50,100"),
        ("--users 0", "users must be 1 or more", "for example USERS=1,4,16"),
        ("--users -3,1", "users must be 1 or more", "for example USERS=1,4,16"),
        ("--duration 0", "a duration of 0 s cannot be measured", "for example DURATION=300"),
        ("--duration -5", "a duration of -5 s cannot be measured", "for example DURATION=300"),
        ("--duration nan", "a duration of nan s cannot be measured", "for example DURATION=300"),
        ("--duration inf", "a duration of inf s cannot be measured", "for example DURATION=300"),
        ("--workload article --duration 20", "workload 'article' ramps for 20 s", "DURATION must be longer"),
        ("--model tiny-awq", "llama-cpp: llama.cpp reads GGUF only", "try MODEL=small"),
        (
            "--backend lmdeploy --accelerator cpu",
            "lmdeploy: LMDeploy current runs on cuda only, not on cpu",
            "try BACKEND=llama-cpp",
        ),
    ],
)
def test_impossible_request_is_told(typed: Typed, command: str, words: str, message: str, hint: str) -> None:
    """With what was wrong and what would be right, by `plan` and `bench` alike."""
    error = typed.error(command, *words.split())

    assert isinstance(error, RequestError)
    assert str(error).startswith(message)
    assert error.hint.startswith(hint)


@pytest.mark.parametrize(
    "words",
    [
        ("bench", "--runtime", "dokcer"),
        ("bench", "--profile", "mine"),
        ("bench", "--duration", "soon"),
        ("bench", "--no-such-option"),
        ("--port", "70000", "plan"),
        ("bnech",),
        (),
    ],
)
def test_usage_errors_end_with_2(typed: Typed, words: tuple[str, ...]) -> None:
    """Those that typer finds too, as its own text says."""
    result = typed(*words)

    assert 2 == result.exit_code
    assert "Usage:" in result.output


def test_main_prints_error_and_next_step(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """On stderr, with the error's own exit code; stdout is for outcomes."""
    monkeypatch.setattr(sys, "argv", ["levelbench", "--runs", str(tmp_path), "plan", "--model", "tinny"])
    with pytest.raises(SystemExit) as caught:
        main()
    printed = capsys.readouterr()

    assert (2, "") == (caught.value.code, printed.out)
    assert printed.err.splitlines()[0] == "error: unknown model 'tinny'. Did you mean 'tiny'?"
    assert printed.err.splitlines()[1].startswith("  next: known: ")


def test_exit_codes_of_the_installed_command(tmp_path: Path) -> None:
    """The console script ends with them: 0, 2 and 3."""
    docker = ("--docker-host", "unix:///nonexistent", "bench", "--runtime", "docker")
    planned = levelbench("plan", "--runtime", "process", "--model", "tiny", "--json", cwd=tmp_path)
    unknown = levelbench("bench", "--backend", "vlm", cwd=tmp_path)
    no_daemon = levelbench(*docker, cwd=tmp_path)

    assert [0, 2, 3] == [planned.returncode, unknown.returncode, no_daemon.returncode]
    assert "tiny" == json.loads(planned.stdout)["groups"][0]["model"]["id"]
    assert all("  next: " in done.stderr for done in (unknown, no_daemon))
    assert not any("Traceback" in done.stderr for done in (planned, unknown, no_daemon))
    assert [] == list(tmp_path.iterdir())


# What this host cannot: exit 3, before anything is started.


def test_docker_without_a_daemon(typed: Typed) -> None:
    """An explicit RUNTIME=docker never falls back."""
    error = typed.error("bench", "--runtime", "docker", *QUICK)

    assert isinstance(error, HostError)
    assert "no Docker daemon answers at unix:///nonexistent" in str(error)


def test_port_that_is_taken(typed: Typed) -> None:
    """Told before the engine is installed."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        error = typed.error("--port", str(port), "bench", "--runtime", "process", *QUICK)

    assert isinstance(error, HostError)
    assert f"port: {port}" in str(error).lower() or f"port {port}" in str(error).lower()
    assert not typed.cache.exists()


def test_gpu_release_without_a_gpu(typed: Typed) -> None:
    """The article's own pair on a laptop."""
    if facts.host().gpus:
        pytest.skip("this host has a GPU")
    error = typed.error("bench", "--backend", "lmdeploy", "--model", "70b-awq")

    assert isinstance(error, HostError)
    assert "GPU: " in str(error)


def test_disk_that_is_too_small(typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    """How much is missing is said."""
    usage = shutil.disk_usage("/")._replace(free=1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    error = typed.error("bench", "--runtime", "process", *QUICK)

    assert isinstance(error, HostError)
    assert "disk: 0.0 GB free" in str(error)


# Outcomes.


def test_bench_prints_its_tables_and_its_report(typed: Typed, runtime: FakeRuntime) -> None:
    """On stdout, after everything else."""
    result = typed("bench", *QUICK)

    assert 0 == result.exit_code, result.output
    assert "llama-cpp" in result.stdout
    assert result.stdout.splitlines()[-1].startswith(f"report: {typed.runs.resolve()}/2")
    assert "measure u1 done" in result.stderr


def test_bench_as_json(typed: Typed, runtime: FakeRuntime) -> None:
    """stdout is JSON and nothing else."""
    (cell,) = json.loads(typed("bench", *QUICK, "--json").stdout)

    assert 1 == cell["cell"]["load"]["users"]
    assert cell["metrics"] is not None


def test_failed_cell_ends_with_4(typed: Typed, runtime: FakeRuntime) -> None:
    """The tables still come, and say why."""
    runtime._fail = {"up": CellError("no such file", hint="see argv")}
    result = typed("bench", *QUICK)

    assert 4 == result.exit_code
    assert "users 1: failed: unknown" in result.stdout
    assert "error: no such file" in result.stderr
    assert "  next: see argv" in result.stderr


def test_options_come_from_the_environment(typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each setting of the host has its variable."""
    monkeypatch.setenv("LEVELBENCH_BASE_IMAGE", "mine:1")
    monkeypatch.setenv("LEVELBENCH_PORT", "8123")
    group = json.loads(typed("plan", "--runtime", "docker", "--json").stdout)["groups"][0]

    assert ("mine:1", 8123) == (group["base"], group["port"])


def test_plan_touches_nothing(typed: Typed, tmp_path: Path) -> None:
    """Not a file appears."""
    result = typed("plan")

    assert 0 == result.exit_code
    assert "note: no Docker daemon answers" in result.stdout
    assert [] == list(tmp_path.iterdir())


# backends


def test_backends_prints_the_comparison(typed: Typed) -> None:
    """What docs/backends.md begins with."""
    page = (ROOT / "docs" / "backends.md").read_text("utf-8")

    assert page.startswith(typed("backends").stdout)


def test_backends_as_json(typed: Typed) -> None:
    """For a program: every engine with its releases and builds."""
    found = {backend["name"]: backend for backend in json.loads(typed("backends", "--json").stdout)}

    assert set(load_backends()) == set(found)
    assert "current" in {release["id"] for release in found["vllm"]["releases"]}


# doctor


def test_doctor_says_everything_and_never_the_token(typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    """That there is one is enough."""
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    result = typed("--port", "8123", "doctor")
    titles = {c.value for c in Check} - {Check.TOOLKIT.value}

    assert titles <= {line[5:].split(":")[0] for line in result.stdout.splitlines()}
    assert "ok   hub token: present" in result.stdout
    assert TOKEN not in result.output


def test_doctor_as_json(typed: Typed) -> None:
    """One object per check."""
    found = json.loads(typed("doctor", "--json").stdout)
    docker = next(f for f in found if f["check"] == "Docker")

    assert "warn" == docker["level"]
    assert docker["next_step"]


def test_doctor_fails_where_nothing_can_be_measured(typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit 3, after everything was said."""
    monkeypatch.setattr("orchestrator.host.checks.sys", SimpleNamespace(version_info=(3, 8, 0)))
    result = typed("doctor")

    assert 3 == result.exit_code
    assert "fail Python" in result.stdout


@pytest.mark.parametrize("name", ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"])
def test_token_goes_to_the_weights_alone(
    typed: Typed, monkeypatch: pytest.MonkeyPatch, runtime: FakeRuntime, name: str
) -> None:
    """Not into the environment of pip, no repr, no file of the run."""
    monkeypatch.setenv(name, TOKEN)
    seen: list[invocation.Place] = []
    execute = invocation.execute

    def watched(place: invocation.Place, *rest: Any) -> tuple[RunFolder, bool]:
        seen.append(place)
        return execute(place, *rest)

    monkeypatch.setattr(invocation, "execute", watched)
    result = typed("bench", *QUICK)
    (place,) = seen

    assert TOKEN == place.token
    assert TOKEN not in "".join(place.environment.values())
    assert TOKEN not in repr(place)
    assert TOKEN not in result.output
    files = [p for p in (*typed.runs.rglob("*"), *typed.cache.rglob("*")) if p.is_file()]
    assert len(files) > 10
    assert not any(TOKEN.encode() in p.read_bytes() for p in files)


# report


def stored_run(typed: Typed, spoil: Callable[[RunFolder, str], None] = lambda *_: None) -> RunFolder:
    """A run of one cell, as a real run leaves it."""
    result = made.result(made.cell(), made.load(1, ttft_s=0.05, gap_s=0.01, tokens=40))
    folder = RunFolder.create(typed.runs, "20261101-000000-x", {}, cells=[result.cell])
    folder.cell(result.cell.id).save(result)
    spoil(folder, result.cell.id)
    return folder


def damage(folder: RunFolder, cell_id: str) -> None:
    path = folder.cell(cell_id).path / "result.json"
    path.write_text(path.read_text().replace('"completed"', '"finished"', 1))


def half(folder: RunFolder, cell_id: str) -> None:
    (folder.cell(cell_id).path / "result.json").unlink()


def test_report_writes_and_prints(typed: Typed) -> None:
    """`latest` is the default, a name works too."""
    folder = stored_run(typed)

    for words in (("report",), ("report", folder.id)):
        result = typed(*words)
        assert 0 == result.exit_code, result.output
        assert f"report: {folder.path.resolve() / 'report.md'}" == result.stdout.splitlines()[-1]
    assert (folder.path / "results.csv").exists()


def test_report_as_json(typed: Typed) -> None:
    """The results, whole."""
    stored_run(typed)
    (result,) = json.loads(typed("report", "--json").stdout)

    assert result["metrics"] is not None


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (damage, "damaged, result.json was altered after it was written"),
        (half, "unfinished, measuring began but did not end"),
    ],
)
def test_report_never_takes_a_half_run_for_a_result(
    typed: Typed, spoil: Callable[[RunFolder, str], None], said: str
) -> None:
    """It is told in the tables and in the report, and there are no figures of it, in JSON neither."""
    folder = stored_run(typed, spoil)
    result = typed("report")

    assert said in result.stdout
    assert said.split(", ")[1] in (folder.path / "report.md").read_text()
    assert [] == json.loads(typed("report", "--json").stdout)


def test_report_without_any_run(typed: Typed) -> None:
    """What to do first."""
    error = typed.error("report")

    assert isinstance(error, RequestError)
    assert ("make one: make bench", 2) == (error.hint, error.exit_code)


def test_report_of_an_unknown_run(typed: Typed) -> None:
    """The nearest name."""
    folder = stored_run(typed)
    found = typed("report", "20261101-000000-y").exception

    assert isinstance(found, RequestError)
    assert f"Did you mean {folder.id!r}?" in str(found)


# clean


def test_dry_clean_says_and_touches_nothing(typed: Typed, tmp_path: Path) -> None:
    """The cache is named and stays."""
    (typed.cache / "models").mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))
    result = typed("clean", "--dry-run")

    assert 0 == result.exit_code
    assert f"would remove {typed.cache}" in result.stdout.splitlines()
    assert before == sorted(tmp_path.rglob("*"))


def test_clean_keeps_runs(typed: Typed) -> None:
    """Measurements are not a cache."""
    folder = stored_run(typed)
    typed.cache.mkdir()
    result = typed("clean")

    assert f"removed {typed.cache}" in result.stdout.splitlines()
    assert not typed.cache.exists()
    assert (folder.path / "run.json").exists()


def kept(typed: Typed, *names: str) -> list[str]:
    """Artifacts of 100 kB each, used in that order; gives what is there afterwards."""
    for number, name in enumerate(names):
        folder = typed.cache / "artifacts" / name
        folder.mkdir(parents=True)
        (folder / "artifact.json").write_bytes(b"x" * 100_000)
        os.utime(folder / "artifact.json", (number, number))
    return sorted(p.name for p in (typed.cache / "artifacts").iterdir() if p.is_dir())


def test_clean_can_keep_what_was_used_last(typed: Typed) -> None:
    """Only so much goes as has to, the least recently used first; images and wheels are not touched."""
    kept(typed, "a", "b", "c")
    (typed.cache / "wheels").mkdir()
    dry = typed("clean", "--keep", "210kB", "--dry-run")
    assert ["would remove a"] == dry.stdout.splitlines()
    assert ["a", "b", "c"] == kept(typed)

    assert ["removed a"] == typed("clean", "--keep", "210kB").stdout.splitlines()
    assert ["b", "c"] == kept(typed)
    assert (typed.cache / "wheels").exists()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("300G", 300 * 10**9),
        ("1.5TB", 1_500_000_000_000),
        ("512MiB", 512 * 2**20),
        ("2 gib", 2 * 2**30),
        ("1000", 1000),
        ("0", 0),
        ("", None),
        (None, None),
    ],
)
def test_sizes_are_read_as_people_write_them(text: str | None, expected: int | None) -> None:
    """Decimal units, unless they say that they are binary."""
    assert expected == size_bytes(text)


@pytest.mark.parametrize("text", ["much", "-1G", "1X", "1.G", "GB", "nan"])
def test_what_is_no_size_is_refused(typed: Typed, text: str) -> None:
    """With an example of one."""
    error = typed.error("clean", f"--keep={text}")

    assert isinstance(error, RequestError)
    assert "300G" in error.hint


def test_cache_limit_comes_from_the_environment(
    typed: Typed, runtime: FakeRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run keeps it: what earlier runs left makes room."""
    kept(typed, "old")
    monkeypatch.setenv("LEVELBENCH_CACHE_LIMIT", "50k")
    result = typed("bench", *QUICK)

    assert 0 == result.exit_code, result.output
    assert [] == kept(typed)


def test_help_names_the_exit_codes(typed: Typed) -> None:
    """And every command."""
    text = " ".join(typed("--help").output.split())

    assert (
        "0 done, 2 bad request, 3 this host cannot, 4 a cell failed or its figures are invalid, 5 not reproduced, "
        "130 interrupted" in text.replace("│ ", "")
    )
    assert all(name in text for name in ("bench", "plan", "report", "doctor", "clean"))
