"""orchestrator/runtime/process.py with real processes: what the contract's tests do not ask of every runtime."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from orchestrator.errors import HostError
from orchestrator.runtime import launcher, owner, process, session, venvs
from orchestrator.runtime.interface import Deployment
from orchestrator.runtime.process import ProcessRuntime, free_port
from tests.runtime import made
from tests.runtime.made import Bench
from tests.runtime.stub_engine import SLEEPER

ORCHESTRATOR = """
import sys, time
from pathlib import Path
import pytest
from tests.runtime import made
bench = made.process(Path(sys.argv[1]), pytest.MonkeyPatch(), Path(sys.argv[2]))
deployment = bench.serving(made.serve(sys.argv[3]))
home = made.get(deployment, "/env")
print(deployment.name, deployment.handle, home, sep="\\t", flush=True)
time.sleep(600)
"""


def runs(pid: int) -> bool:
    with suppress(psutil.Error):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def home(deployment: Deployment) -> Path:
    return Path(json.loads(made.get(deployment, "/env"))["HOME"])


def listening(host: str, port: int) -> socket.socket:
    """On a port whose process was just killed: it answers no more before the kernel has closed all that it had."""
    for _ in range(500):
        with suppress(OSError):
            return socket.create_server((host, port))
        time.sleep(0.01)
    return socket.create_server((host, port))


def children(folder: Path) -> list[int]:
    return [int(pid) for pid in (folder / "children").read_text().split()]


@contextmanager
def another_orchestrator(folder: Path, venv: Path, mode: str) -> Iterator[tuple[int, str, int, Path]]:
    """Its number, its deployment's name, its engine's number and that one's home folder."""
    argv = (sys.executable, "-c", ORCHESTRATOR, str(folder), str(venv), mode)
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=env) as child:
        try:
            assert child.stdout is not None
            name, pid, told = child.stdout.readline().split("\t")
            yield child.pid, name, int(pid), Path(json.loads(told)["HOME"])
        finally:
            child.kill()


def test_descendants_are_killed_wherever_they_went(process_bench: Bench) -> None:
    """A session of its own, a cleared environment, or both: none outlives the deployment."""
    deployment = process_bench.serving(made.serve("parent"))
    pids = children(home(deployment))
    assert 3 == len([pid for pid in pids if runs(pid)])

    process_bench.runtime.down(deployment)

    assert [] == [pid for pid in pids if runs(pid)]


def test_descendants_of_a_dead_engine_are_killed(process_bench: Bench) -> None:
    """Nothing leads from the engine to them any more, but session and labels do."""
    deployment = process_bench.serving(made.serve("parent"))
    elsewhere, forgetful, _ = children(home(deployment))

    process_bench.kill(deployment)
    made.wait_for(lambda: not process_bench.runtime.state(deployment).running)
    usage = process_bench.runtime.usage(deployment)
    process_bench.runtime.down(deployment)

    assert usage is not None
    assert usage.processes >= 2
    assert not runs(elsewhere)
    assert not runs(forgetful)


def test_a_descendant_that_was_seen_once_is_not_lost(process_bench: Bench) -> None:
    """Telemetry looks every second; what it saw under the engine is known when the engine has died."""
    deployment = process_bench.serving(made.serve("parent"))
    hidden = children(home(deployment))[2]
    process_bench.runtime.usage(deployment)

    process_bench.kill(deployment)
    made.wait_for(lambda: not process_bench.runtime.state(deployment).running)
    process_bench.runtime.down(deployment)

    assert not runs(hidden)


@pytest.fixture(autouse=True)
def no_sleepers_left() -> Iterator[None]:
    """A descendant with neither session nor labels, never looked for in its parent's life, is lost: the one
    kind that is the test's to end."""
    yield
    for found in psutil.process_iter():
        with suppress(psutil.Error):
            if found.username() == psutil.Process().username() and found.cmdline()[2:] == [SLEEPER]:
                found.kill()


def test_usage_counts_every_descendant(process_bench: Bench) -> None:
    """The engine and its three children."""
    usage = process_bench.runtime.usage(process_bench.serving(made.serve("parent")))

    assert usage is not None
    assert 4 == usage.processes


def test_the_scratch_folder_goes_with_the_engine(process_bench: Bench) -> None:
    """Home, temporary folder and caches are one folder per deployment."""
    deployment = process_bench.serving()
    env = json.loads(made.get(deployment, "/env"))
    assert Path(env["HOME"]).is_dir()
    assert env["TMPDIR"] == env["HOME"]
    assert f"{env['HOME']}/stub" == env["STUB_CACHE"]

    process_bench.runtime.down(deployment)

    assert not Path(env["HOME"]).exists()


def test_the_environment_is_clean(process_bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token in our environment does not reach the engine."""
    monkeypatch.setenv("HF_TOKEN", "secret")

    env = json.loads(made.get(process_bench.serving(), "/env"))

    expected = {"PATH", "HOME", "TMPDIR", "LANG", "PYTHONUNBUFFERED", "STUB_CACHE", session.MARKER}
    assert expected == set(env) - {"LC_CTYPE"}  # which Python itself may add (PEP 538)


def test_gpus_are_named_by_uuid(process_bench: Bench) -> None:
    """An engine sees the GPUs that it was given."""
    env = process._environment(Path("/venv"), Path("/scratch"), {}, ("GPU-1", "GPU-2"))

    assert "GPU-1,GPU-2" == env["CUDA_VISIBLE_DEVICES"]


def test_a_step_that_uses_no_gpu_sees_none(process_bench: Bench) -> None:
    """Its output is not bound to one; an engine on a CPU is left alone."""
    env = process._environment(Path("/venv"), Path("/scratch"), {}, ())

    assert "" == env["CUDA_VISIBLE_DEVICES"]
    assert "CUDA_VISIBLE_DEVICES" not in process._environment(Path("/venv"), Path("/scratch"), {}, None)


@pytest.mark.parametrize(
    ("value", "expected"), [("/cache/x", "/scratch/x"), ("/opt/cache", "/opt/cache"), ("1", "1")]
)
def test_only_a_path_in_the_cache_moves(value: str, expected: str) -> None:
    """The container's cache folder is the scratch folder here."""
    assert expected == process._environment(Path("/venv"), Path("/scratch"), {"X": value}, ())["X"]


def test_the_engine_dies_with_the_orchestrator(tmp_path: Path, venv: Path) -> None:
    """However the orchestrator ends: here it is killed and can do nothing about it."""
    with another_orchestrator(tmp_path, venv, "serve") as (pid, _, engine, _):
        assert runs(engine)
        os.kill(pid, signal.SIGKILL)
        made.wait_for(lambda: not runs(engine))


def test_every_descendant_dies_with_the_orchestrator(tmp_path: Path, venv: Path) -> None:
    """Also one in a session of its own, and one without any mark: the launcher has adopted them all."""
    with another_orchestrator(tmp_path, venv, "parent") as (pid, name, _, folder):
        descendants = children(folder)
        made.wait_for(lambda: all(runs(child) for child in descendants))
        os.kill(pid, signal.SIGKILL)
        made.wait_for(lambda: not any(runs(child) for child in descendants))

    made.wait_for(lambda: name not in ProcessRuntime(tmp_path, {}).reap(dry_run=True))


def test_what_a_dead_orchestrator_left_is_reaped(tmp_path: Path, venv: Path) -> None:
    """Should the launcher have been killed too, the engine ends and its children live on: reap ends them."""
    runtime = ProcessRuntime(tmp_path, {})
    with another_orchestrator(tmp_path, venv, "parent") as (pid, name, parent, folder):
        elsewhere = children(folder)[0]
        assert name not in runtime.reap()
        assert runs(parent)
        os.kill(parent, signal.SIGKILL)
        os.kill(pid, signal.SIGKILL)
    made.wait_for(lambda: not runs(parent))
    assert runs(elsewhere)

    assert name in runtime.reap(dry_run=True)
    assert runs(elsewhere)
    assert name in runtime.reap()
    assert not runs(elsewhere)
    assert name not in runtime.reap()


def test_a_launcher_whose_orchestrator_is_gone_already_starts_nothing(tmp_path: Path) -> None:
    """The orchestrator may die before the launcher can ask to be told."""
    argv = [sys.executable, "-I", launcher.__file__, "1", "{}", "[]", "touch", str(tmp_path / "started")]

    assert launcher.CANNOT_START == subprocess.run(argv, check=False).returncode
    assert not (tmp_path / "started").exists()


@pytest.mark.parametrize(("code", "expected"), [("raise SystemExit(3)", 3), ("import os; os.abort()", 134)])
def test_the_launcher_passes_the_end_on(code: str, expected: int) -> None:
    """An exit code as it is, a signal as 128+n."""
    argv = [sys.executable, "-I", launcher.__file__, str(os.getpid()), "{}", "[]", sys.executable, "-c", code]

    assert expected == subprocess.run(argv, check=False, capture_output=True).returncode


def test_a_marker_that_is_none_is_nobodys() -> None:
    """Another program's variable of the same name is not read as labels."""
    for text in ("", "run-1", "[1]"):
        env = {session.MARKER: text}
        with subprocess.Popen(("sleep", "60"), env=env) as other:
            made.wait_for(lambda pid=other.pid: psutil.Process(pid).name() == "sleep")  # type: ignore[misc]
            assert {} == session.mark(psutil.Process(other.pid))
            other.kill()


def test_a_taken_port_is_the_hosts_fault() -> None:
    """A port that was asked for is not replaced by another."""
    with socket.create_server((process.LOOPBACK, 0)) as other:
        taken = other.getsockname()[1]
        with pytest.raises(HostError, match=f"port {taken} cannot be listened on: Address already in use"):
            free_port(taken)


def test_a_port_that_was_asked_for_is_given() -> None:
    """Asked for by number, given by number; 0 is any."""
    any_port = free_port(0)

    assert any_port > 0
    assert any_port == free_port(any_port)


def test_an_engine_that_is_not_installed(process_bench: Bench) -> None:
    """As in a container with an init: exit code 127, and the program's name in the log."""
    deployment = process_bench.up(made.serve(argv=("no-such-engine",)))
    made.wait_for(lambda: not process_bench.runtime.state(deployment).running)

    assert 127 == process_bench.runtime.state(deployment).exit_code
    assert "cannot start no-such-engine: No such file or directory\n" == deployment.log_path.read_text()


def test_down_proves_the_port_closed(process_bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever listens where the engine did would be measured next: the run stops, and a later try can pass."""
    deployment = process_bench.serving()
    with monkeypatch.context() as patch:
        patch.setattr(session, "kill_all", lambda *_: None)
        process_bench.kill(deployment)
        with (
            listening(deployment.host, deployment.port),
            pytest.raises(HostError, match=f"something still listens on port {deployment.port}"),
        ):
            process_bench.runtime.down(deployment)

    process_bench.runtime.down(deployment)
    assert not process_bench.runtime.state(deployment).running


def test_a_process_that_cannot_be_killed_stops_the_run(
    process_bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One in uninterruptible sleep, for instance: it is named."""
    monkeypatch.setattr(session, "KILL_S", 0.1)
    immortal = psutil.Process()
    monkeypatch.setattr(immortal, "kill", lambda: None)

    with pytest.raises(HostError, match=f"processes {os.getpid()} of run-1 cannot be killed"):
        session.kill_all("run-1", lambda: iter([immortal]))


def test_the_owner_in_the_environment_is_the_orchestrator(process_bench: Bench) -> None:
    """The same labels as a container carries: death is proven in the same way."""
    deployment = process_bench.serving()

    mark = json.loads(json.loads(made.get(deployment, "/env"))[session.MARKER])

    assert owner.labels(deployment.name) == mark


def test_the_runtime_says_what_it_is(process_bench: Bench) -> None:
    """The Python that runs the engine goes into every result."""
    assert f"Python {sys.version.split()[0]}" == process_bench.runtime.version


def test_an_engine_behind_a_layer_has_a_port_of_its_own(
    process_bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another free one, filled in as the layer's folder is; the deployment can be seen past the layer."""
    ready = process_bench.image
    venv = venvs.Venv(folder=Path(sys.prefix), image=ready, layer=Path("/layer"))
    monkeypatch.setattr("orchestrator.runtime.process.ready", lambda *_: venv)
    process_bench.runtime.image(made.image_spec(), print)
    argv = ("python3", "{model}/stub_engine.py", "serve", "{bind}", "{engine_port}", "{port}", "{layer}")

    deployment = process_bench.up(made.serve(argv=argv, engine_port=8000))

    assert (str(deployment.engine_port), str(deployment.port), "/layer") == deployment.argv[-3:]
    assert deployment.engine.port == deployment.engine_port != deployment.port
    made.wait_for(lambda: made.answers(deployment.engine))
    assert not made.answers(deployment)
    process_bench.runtime.down(deployment)


def test_a_second_port_is_not_the_first() -> None:
    """Both are free when they are looked for."""
    first = free_port(0)

    assert first != free_port(0, apart_from=first)
