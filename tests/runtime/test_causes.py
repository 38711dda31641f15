"""Engines that die, hang and fill up for real, in a process and in a container, and what it is called."""

from __future__ import annotations

import os
import signal
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from backends.contract import COMMON_FAILURES, FailureCause, ReadySpec
from orchestrator import ready
from orchestrator.errors import CellError
from orchestrator.ready import Ladder, require_alive, wait_until_ready
from orchestrator.runtime import session
from orchestrator.runtime.docker import DockerRuntime
from tests.runtime import made
from tests.runtime.made import Bench

SPEC = ReadySpec(health_path="/health", models_path=None, deadline_s=30)
LIMIT_BYTES = 64 * 2**20

pytestmark = pytest.mark.timeout(240)


def climbed(bench: Bench, program: str, silence_s: float = 60.0) -> CellError:
    """How an engine ends that is this program."""
    deployment = bench.up(made.serve(argv=("python3", "-c", program)))
    ladder = Ladder(SPEC, "tiny", COMMON_FAILURES, silence_s=silence_s)
    with pytest.raises(CellError) as caught:
        wait_until_ready(bench.runtime, deployment, ladder, progress=lambda _: None)
    return caught.value


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        (
            "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 896 MiB",
            FailureCause.MEMORY_WEIGHTS,
        ),
        ("huggingface_hub.errors.GatedRepoError: 401 Client Error.", FailureCause.GATED_MODEL),
        ("CUDA driver version is insufficient for CUDA runtime version", FailureCause.DRIVER_TOO_OLD),
        ("OSError: [Errno 28] No space left on device: '/cache/x'", FailureCause.DISK_FULL),
        ("no such thing as a cause", FailureCause.UNKNOWN),
    ],
)
def test_last_words_tell_the_cause(real_bench: Bench, line: str, cause: FailureCause) -> None:
    """As soon as the engine is dead."""
    error = climbed(real_bench, f"import sys; print({line!r}); sys.exit(1)")

    assert cause is error.cause
    assert line in error.log_tail


def test_a_taken_port_is_told(real_bench: Bench) -> None:
    """By an engine that binds twice, so that it does not matter where it lives."""
    error = climbed(
        real_bench,
        "import socket as s\na=s.create_server(('127.0.0.1', 8071))\ns.create_server(('127.0.0.1', 8071))",
    )

    assert FailureCause.PORT_IN_USE is error.cause


def test_a_port_of_the_host_that_somebody_holds_is_told(process_bench: Bench) -> None:
    """In a process ports are shared with everybody."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        error = climbed(
            process_bench, f"import socket; socket.create_server(('127.0.0.1', {taken.getsockname()[1]}))"
        )

    assert FailureCause.PORT_IN_USE is error.cause


def test_an_engine_that_falls_silent_hangs(real_bench: Bench) -> None:
    """It is alive, and will be so for ever."""
    error = climbed(
        real_bench, "import time; print('loading shard 3', flush=True); time.sleep(600)", silence_s=2.0
    )

    assert FailureCause.HUNG is error.cause
    assert "loading shard 3" in error.log_tail


def test_an_engine_whose_health_never_answers_hangs(
    process_bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It accepts connections, and that is all."""
    monkeypatch.setattr(ready, "PROBE_S", 0.3)
    program = (
        "import socket, sys, time; s=socket.create_server((sys.argv[1], int(sys.argv[2]))); time.sleep(600)"
    )
    deployment = process_bench.up(made.serve(argv=("python3", "-c", program, "{bind}", "{port}")))
    ladder = Ladder(SPEC, "tiny", COMMON_FAILURES, silence_s=2.0)
    with pytest.raises(CellError, match="port open, waiting for health") as caught:
        wait_until_ready(process_bench.runtime, deployment, ladder, progress=lambda _: None)

    assert FailureCause.HUNG is caught.value.cause


def died(bench: Bench) -> CellError:
    (deployment,) = bench.live
    made.wait_for(lambda: not bench.runtime.state(deployment).running)
    with pytest.raises(CellError) as caught:
        require_alive(bench.runtime, deployment, COMMON_FAILURES)
    return caught.value


def test_a_container_that_outgrows_its_memory_was_killed_by_the_kernel(docker_bench: Bench) -> None:
    """The daemon says so; 137 alone would not."""
    deployment = docker_bench.serving()
    assert isinstance(docker_bench.runtime, DockerRuntime)
    found = docker_bench.runtime.client.containers.get(deployment.handle)
    found.update(mem_limit=LIMIT_BYTES, memswap_limit=LIMIT_BYTES)
    with suppress(OSError):
        made.get(deployment, "/eat")

    assert FailureCause.KILLED_BY_KERNEL is died(docker_bench).cause


def test_a_container_that_somebody_kills_was_not_killed_for_memory(docker_bench: Bench) -> None:
    """The same exit code."""
    docker_bench.kill(docker_bench.serving())

    assert FailureCause.KILLED is died(docker_bench).cause


@contextmanager
def small_cgroup() -> Iterator[Path]:
    """A memory cgroup of this host with a limit, where this user may make one."""
    version_1 = Path("/sys/fs/cgroup/memory")
    root = version_1 if version_1.is_dir() else Path("/sys/fs/cgroup")
    folder = root / f"levelbench-test-{uuid.uuid4().hex[:8]}"
    try:
        folder.mkdir()
        name = "memory.limit_in_bytes" if root == version_1 else "memory.max"
        (folder / name).write_text(str(LIMIT_BYTES))
    except OSError as error:
        pytest.skip(f"no cgroup of our own here: {error}")
    try:
        yield folder
    finally:
        made.wait_for(lambda: not (folder / "cgroup.procs").read_text().strip())
        folder.rmdir()


def test_a_process_that_outgrows_its_memory_was_killed_by_the_kernel(process_bench: Bench) -> None:
    """The kernel counts whom it kills."""
    with small_cgroup() as cgroup:
        deployment = process_bench.serving()
        launcher = int(deployment.handle)
        (engine,) = Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()
        (cgroup / "cgroup.procs").write_text(engine)
        with suppress(OSError):
            made.get(deployment, "/eat")

        assert FailureCause.KILLED_BY_KERNEL is died(process_bench).cause


def test_a_process_that_somebody_kills_was_not_killed_for_memory(
    process_bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Not even on a host where the kernel has killed others before."""
    (tmp_path / "vmstat").write_text("nr_free_pages 1\noom_kill 7\n")
    monkeypatch.setattr(session, "VMSTAT", tmp_path / "vmstat")
    deployment = process_bench.serving()
    os.kill(int(deployment.handle), signal.SIGKILL)

    assert 7 == session.oom_kills()
    assert FailureCause.KILLED is died(process_bench).cause
    (tmp_path / "vmstat").write_text("nothing\n")
    assert 0 == session.oom_kills()
