"""orchestrator/host/checks.py and ports.py: each check on the real machine or on one made of files."""

from __future__ import annotations

import errno
import importlib.util
import os
import shutil
import socket
import sys
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from orchestrator.errors import HostError
from orchestrator.host import checks, facts, ports
from orchestrator.host.checks import Space
from orchestrator.host.findings import Check, Finding, Level
from tests.fakes.nvml import Stub

NO_DAEMON = HostError("no Docker daemon answers", hint="systemctl start docker")


def raising(error: Exception) -> str:
    raise error


def no_runtimes() -> tuple[str, ...]:
    raise NO_DAEMON


def governors(root: Path, *names: str) -> Path:
    for number, name in enumerate(names):
        folder = root / f"sys/devices/system/cpu/cpu{number}/cpufreq"
        folder.mkdir(parents=True)
        (folder / "scaling_governor").write_text(f"{name}\n")
    return root


def test_a_daemon_that_answers_is_told_with_its_version() -> None:
    """What the callable says is what is reported."""
    assert checks.docker(lambda: "Docker 27.1", Level.FAIL) == Finding(Check.DOCKER, Level.OK, "Docker 27.1")


@pytest.mark.parametrize("missing", [Level.WARN, Level.FAIL])
def test_a_daemon_that_does_not_answer_has_the_errors_hint(missing: Level) -> None:
    """Whether it matters is the caller's to say."""
    finding = checks.docker(lambda: raising(NO_DAEMON), missing)

    assert finding == Finding(Check.DOCKER, missing, "no Docker daemon answers", "systemctl start docker")


def test_a_registered_nvidia_runtime_will_do() -> None:
    """The daemon lists its runtimes."""
    assert checks.toolkit(lambda: ("runc", "nvidia"), Level.FAIL).level is Level.OK


def test_an_installed_hook_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The daemon finds the toolkit's hook on the path when a GPU is asked for."""
    hook = tmp_path / "nvidia-container-runtime-hook"
    hook.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))

    assert checks.toolkit(lambda: ("runc",), Level.FAIL).level is Level.OK


def test_no_toolkit_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU box without the toolkit cannot give its GPU to a container."""
    monkeypatch.setenv("PATH", str(tmp_path))

    finding = checks.toolkit(lambda: ("runc",), Level.FAIL)

    assert finding.level is Level.FAIL
    assert "nvidia-container-toolkit" in finding.next_step


def test_a_toolkit_that_cannot_be_seen_is_told() -> None:
    """No daemon, no list of runtimes."""
    finding = checks.toolkit(no_runtimes, Level.WARN)

    assert (finding.level, finding.text) == (Level.WARN, "cannot be seen: no Docker daemon answers")


def test_gpus_are_listed_with_memory_and_driver(nvml_stub: Stub) -> None:
    """One finding for all healthy GPUs."""
    nvml_stub.script("gpus * 2")

    (finding,) = checks.gpus(Level.FAIL)

    expected = "Stub A100 (85.9 GB), Stub A100 (85.9 GB), driver 535.104.05"
    assert finding == Finding(Check.GPU, Level.OK, expected)


def test_a_missing_driver_is_told(nvml_stub: Stub) -> None:
    """The reason is NVML's own, in a sentence."""
    nvml_stub.script("nvmlInitWithFlags * 18")

    (finding,) = checks.gpus(Level.FAIL)

    assert finding.level is Level.FAIL
    assert "differ in version" in finding.text
    assert finding.next_step


def test_a_gpu_that_is_lost_is_a_failure(nvml_stub: Stub) -> None:
    """A sick GPU beside a healthy one is named."""
    nvml_stub.script("gpus * 2", "lost 1 1")

    healthy, sick = checks.gpus(Level.WARN)

    assert (healthy.level, sick.level, sick.text) == (Level.OK, Level.FAIL, "gpu1: GPU is lost")


def test_a_gpu_in_use_is_a_warning(nvml_stub: Stub) -> None:
    """Whoever is on the GPU already is named by process number."""
    nvml_stub.script("processes 0 2")

    _, busy = checks.gpus(Level.FAIL)

    assert (busy.level, busy.text) == (Level.WARN, "gpu0 is in use by process 4000, 4001")


def test_this_python_will_do() -> None:
    """The tests run on a Python that can make virtual environments."""
    assert checks.python(Level.FAIL).level is Level.OK


def test_an_old_python_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """3.9 lacks what the code uses."""
    monkeypatch.setattr(sys, "version_info", (3, 9, 18, "final", 0))

    finding = checks.python(Level.WARN)

    assert (finding.level, finding.text) == (Level.FAIL, "3.9.18 is too old")


def test_a_python_without_ensurepip_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Debian ships venv without ensurepip unless python3-venv is installed."""
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "ensurepip" else found(name)
    )

    finding = checks.python(Level.FAIL)

    assert finding.level is Level.FAIL
    assert finding.text.endswith("comes without ensurepip")
    assert finding.next_step == "apt install python3-venv"


@pytest.mark.parametrize(
    ("count", "siblings", "level"),
    [(1, "0", Level.WARN), (2, "0-1", Level.WARN), (2, "0", Level.OK), (64, "0", Level.OK)],
)
def test_one_core_is_too_few_for_figures(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, count: int, siblings: str, level: Level
) -> None:
    """With a single core the client and the engine take turns, also where it has two threads."""
    monkeypatch.setattr(checks, "usable_cpus", lambda root: count)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(count)))
    for cpu in range(2):
        path = tmp_path / f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"
        path.parent.mkdir(parents=True)
        path.write_text(siblings if siblings != "0" else str(cpu))

    assert checks.cpus(tmp_path).level is level


@pytest.mark.parametrize(
    ("names", "level", "text"),
    [
        ((), Level.OK, "not readable here"),
        (("performance", "performance"), Level.OK, "performance"),
        (("performance", "powersave"), Level.WARN, "performance, powersave: "),
        (("schedutil",), Level.WARN, "schedutil: "),
    ],
)
def test_the_governor_is_read_of_every_cpu(
    tmp_path: Path, names: tuple[str, ...], level: Level, text: str
) -> None:
    """A single CPU that saves power is enough for a warning; none that tells is fine."""
    finding = checks.governor(governors(tmp_path, *names))

    assert finding.level is level
    assert finding.text.startswith(text)


def test_free_memory_is_compared_with_what_is_needed() -> None:
    """A byte fits on this machine, an exabyte does not."""
    assert checks.memory(1).level is Level.OK

    finding = checks.memory(10**18)

    assert finding.level is Level.FAIL
    assert finding.text.endswith("1000000000.0 GB needed")


def test_free_memory_is_no_more_than_the_control_group_allows(tmp_path: Path) -> None:
    """A container with a gigabyte has a gigabyte, however large the machine."""
    (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
    (tmp_path / "sys/fs/cgroup/memory.max").write_text("1000000000\n")

    finding = checks.memory(2 * 10**9, tmp_path)

    assert finding.text == "1.0 GB free of 1.0 GB, 2.0 GB needed"
    assert facts.usable_memory_bytes(tmp_path) == 10**9


@pytest.mark.parametrize(("used_bytes", "level"), [(0, Level.OK), (2**20, Level.OK), (2**30, Level.WARN)])
def test_swap_in_use_is_a_warning(monkeypatch: pytest.MonkeyPatch, used_bytes: int, level: Level) -> None:
    """A few pages do not matter."""
    monkeypatch.setattr(psutil, "swap_memory", lambda: SimpleNamespace(used=used_bytes))

    assert checks.swap().level is level


def test_folders_of_one_file_system_share_its_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each would fit, both together do not; the folders need not exist yet."""
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=10 * 10**9))
    models = Space(tmp_path / "a" / "models", 6 * 10**9, "models")
    runs = Space(tmp_path / "runs", 6 * 10**9, "runs")

    (finding,) = checks.disk((models, runs))

    assert finding.level is Level.FAIL
    assert finding.text == f"10.0 GB free for models ({models.path}) and runs ({runs.path}), 12.0 GB needed"
    assert finding.next_step.startswith("free 2.0 GB there")
    assert checks.disk((models,))[0].level is Level.OK
    assert not models.path.exists()


def test_folders_of_two_file_systems_are_two_findings(tmp_path: Path) -> None:
    """/proc is never the file system of a temporary folder."""
    spaces = (Space(tmp_path, 1, "models"), Space(Path("/proc"), 0, "runs"))

    assert [finding.check for finding in checks.disk(spaces)] == [Check.DISK, Check.DISK]


def test_a_model_cache_is_weighed(tmp_path: Path) -> None:
    """Sparse parts and second names of a file weigh nothing, links are not followed."""
    (tmp_path / "weights").write_bytes(b"x" * 3_000_000)
    os.link(tmp_path / "weights", tmp_path / "same")
    (tmp_path / "link").symlink_to("/usr")
    with (tmp_path / "sparse").open("wb") as sparse:
        sparse.truncate(10**12)

    assert checks.folder_bytes(tmp_path) == pytest.approx(3_000_000, rel=0.01)
    assert checks.models(tmp_path).text == f"{tmp_path} holds 0.0 GB"


def test_a_file_that_vanishes_while_weighing_weighs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process may clean up meanwhile."""
    monkeypatch.setattr(os, "walk", lambda folder: [(str(tmp_path), [], ["gone"])])

    assert checks.folder_bytes(tmp_path) == 0


def test_a_model_cache_that_is_not_there_yet_will_be_made(tmp_path: Path) -> None:
    """The check itself makes nothing."""
    finding = checks.models(tmp_path / "a" / "b")

    assert finding == Finding(Check.MODELS, Level.OK, f"{tmp_path / 'a' / 'b'} will be made")
    assert not (tmp_path / "a").exists()


def test_a_model_cache_that_is_a_file_fails(tmp_path: Path) -> None:
    """Nothing can be put below a file."""
    (tmp_path / "cache").touch()

    assert checks.models(tmp_path / "cache").level is Level.FAIL
    assert checks.models(tmp_path / "cache" / "models").level is Level.FAIL


def test_a_model_cache_that_cannot_be_written_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A read-only folder is a failure with its next step."""
    monkeypatch.setattr(os, "access", lambda path, mode: False)

    finding = checks.models(tmp_path)

    assert finding.level is Level.FAIL
    assert finding.next_step


def test_a_token_is_present_or_absent() -> None:
    """Only what is handed in counts, since only that reaches the fetch; an empty one is none."""
    assert checks.token("hf_secret", Level.FAIL) == Finding(Check.TOKEN, Level.OK, "present")
    assert checks.token("", Level.FAIL).level is Level.FAIL
    assert checks.token(None, Level.WARN).level is Level.WARN


def test_a_free_port_is_free() -> None:
    """A port that was just given back can be had, and 0 always."""
    with socket.create_server((ports.LOOPBACK, 0)) as listener:
        number = listener.getsockname()[1]

    assert ports.port(number).level is Level.OK
    assert ports.port(0).text == "any free one will do"


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])  # noqa: S104 - another's listener
def test_a_taken_port_names_its_holder(address: str) -> None:
    """The process that listens is named, on whichever address."""
    with socket.create_server((address, 0)) as listener:
        finding = ports.port(listener.getsockname()[1])

    name = psutil.Process().name()
    assert finding.level is Level.FAIL
    assert finding.text.endswith(f"is taken by process {os.getpid()} ({name})")


def test_a_port_that_is_still_closing_is_free() -> None:
    """Connections in TIME_WAIT do not keep a server from listening."""
    with socket.create_server((ports.LOOPBACK, 0)) as listener:
        number = listener.getsockname()[1]
        with socket.create_connection((ports.LOOPBACK, number)):
            accepted, _ = listener.accept()
            accepted.close()

    assert ports.port(number).level is Level.OK


def test_an_invisible_holder_is_told_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other users' processes cannot be named without root."""

    def denied(kind: str) -> list[object]:
        raise psutil.AccessDenied

    monkeypatch.setattr(psutil, "net_connections", denied)
    with socket.create_server((ports.LOOPBACK, 0)) as listener:
        finding = ports.port(listener.getsockname()[1])

    assert finding.text.endswith("is taken by a process that this user may not see")


def test_a_holder_that_just_ended_is_told_by_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its name is gone with it."""
    with socket.create_server((ports.LOOPBACK, 0)) as listener:
        number = listener.getsockname()[1]
        monkeypatch.setattr(ports, "_listeners", lambda: {number: 2**22 + 1})
        finding = ports.port(number)

    assert finding.text == f"{number} is taken by process {2**22 + 1}"


def test_a_port_of_root_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the right to low ports the system's own words are told."""

    def denied(number: int, address: str) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(ports, "_bind", denied)

    assert ports.port(80).text == "80 cannot be listened on: Permission denied"


def test_a_number_that_is_no_port_fails() -> None:
    """65535 is the last."""
    assert ports.port(70_000) == Finding(
        Check.PORT, Level.FAIL, "70000 is no port", "choose one from 1024 to 65535"
    )
