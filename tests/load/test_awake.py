"""orchestrator/load/awake.py: on a made-up /sys, since few machines have each kind of driver, and on this machine's."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from orchestrator.load import awake as module
from orchestrator.load import worker
from orchestrator.load.awake import CPUS, ROOT, awake
from orchestrator.load.spec import Done, Order, Ready
from tests.fakes.engine import FakeEngine, steady
from tests.load.test_client import SPEC

CORE = 3
ORCHESTRATOR = """
import os, sys
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter_ns
from orchestrator.load.spec import Order
from tests.fakes.engine import FakeEngine, steady
from tests.load.test_awake import on_a_made_up_machine
from tests.load.test_client import SPEC, replace

if __name__ == "__main__":
    root = Path(sys.argv[1])
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    with FakeEngine(steady()) as engine:
        client = context.Process(target=on_a_made_up_machine, args=(theirs, root))
        client.start()
        ours.send(Order(replace(SPEC, port=engine.port, length_s=60.0), shard=0, shards=1, folder=root))
        ours.recv()
        ours.send(perf_counter_ns())
        ours.recv()
        print(os.sched_getscheduler(client.pid) == os.SCHED_RR, flush=True)
        sys.stdin.read()
"""


def machine(root: Path, driver: str | None = "intel_idle", before: str = "0\n", core: int = CORE) -> Path:
    """One whose kernel has this driver; gives the file of the core's tolerance."""
    tolerance = root / CPUS / f"cpu{core}/power/pm_qos_resume_latency_us"
    tolerance.parent.mkdir(parents=True)
    (root / "run").mkdir()
    tolerance.write_text(before)
    if driver is not None:
        (root / CPUS / "cpuidle").mkdir()
        (root / CPUS / "cpuidle/current_driver").write_text(f"{driver}\n")
    return tolerance


@pytest.mark.parametrize(
    ("driver", "kept"), [("intel_idle", "2"), ("acpi_idle", "2"), ("haltpoll", "n/a")], ids=str
)
def test_the_core_sleeps_no_deeper_than_it_wakes_in_time(tmp_path: Path, driver: str, kept: str) -> None:
    """In a guest not at all: where its only state ends no driver knows."""
    tolerance = machine(tmp_path, driver)

    with awake(CORE, tmp_path) as held:
        assert held
        assert kept == tolerance.read_text()

    assert tolerance.read_text() == "0\n"


def test_what_an_administrator_has_set_is_there_again(tmp_path: Path) -> None:
    """After an error too."""
    tolerance = machine(tmp_path, before="40\n")

    with pytest.raises(ZeroDivisionError), awake(CORE, tmp_path):
        _ = 1 / 0

    assert tolerance.read_text() == "40\n"


@pytest.mark.parametrize("driver", ["none", None], ids=["no driver", "no cpuidle"])
def test_a_kernel_without_a_say_is_told(tmp_path: Path, driver: str | None) -> None:
    """The result must not claim it."""
    tolerance = machine(tmp_path, driver)

    with awake(CORE, tmp_path) as held:
        assert not held

    assert tolerance.read_text() == "0\n"


def test_without_the_right_it_goes_on(tmp_path: Path) -> None:
    """Not everybody is root. A folder in the file's place refuses root too."""
    tolerance = machine(tmp_path)
    tolerance.unlink()
    tolerance.mkdir()

    with awake(CORE, tmp_path) as held:
        assert not held


def test_a_file_that_takes_nothing_is_no_reason_to_die(tmp_path: Path) -> None:
    """As /sys in a container: it can be read."""
    tolerance = machine(tmp_path)
    tolerance.unlink()
    tolerance.symlink_to("/proc/version")

    with awake(CORE, tmp_path) as held:
        assert not held

    assert not (tmp_path / f"run/levelbench-cpu{CORE}").read_text()


def test_a_client_that_is_not_pinned_has_no_core(tmp_path: Path) -> None:
    """Then nothing is set."""
    tolerance = machine(tmp_path)

    with awake(None, tmp_path) as held:
        assert not held

    assert tolerance.read_text() == "0\n"


def test_the_second_of_two_leaves_it_to_the_first(tmp_path: Path) -> None:
    """It would put back what the first has set, after that one has put back what there was."""
    tolerance = machine(tmp_path)

    with awake(CORE, tmp_path) as first:
        with awake(CORE, tmp_path) as second:
            assert (first, second) == (True, False)
        assert tolerance.read_text() == "2"

    assert tolerance.read_text() == "0\n"


def test_what_a_killed_client_left_is_put_right_by_the_next(tmp_path: Path) -> None:
    """It has not seen what there was before; a file that dies with the machine's memory has."""
    tolerance = machine(tmp_path, before="40\n")
    with awake(CORE, tmp_path):
        left = {path: path.read_bytes() for path in (tolerance, tmp_path / f"run/levelbench-cpu{CORE}")}
    for path, content in left.items():
        path.write_bytes(content)

    with awake(CORE, tmp_path) as again:
        assert again
        assert tolerance.read_text() == "2"

    assert tolerance.read_text() == "40\n"


def test_this_machine_takes_it() -> None:
    """Where it may be asked; the kernel knows both words."""
    path = ROOT / CPUS / "cpu0/power/pm_qos_resume_latency_us"
    with awake(0) as held:
        if not held:
            pytest.skip("no right to it, no cpuidle, or another client has the core")
        assert path.read_text().strip() in {module.HALTED, module.NOT_AT_ALL}


def test_the_client_says_whether_its_core_was_kept_awake(tmp_path: Path) -> None:
    """It has a core of its own at real-time priority alone."""
    machine(tmp_path, core=max(os.sched_getaffinity(0)))
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    with FakeEngine(steady(tokens=1)) as engine:
        client = context.Process(target=on_a_made_up_machine, args=(theirs, tmp_path))
        client.start()
        spec = replace(SPEC, port=engine.port, requests=1)
        ours.send(Order(spec, shard=0, shards=1, folder=tmp_path))
        assert Ready() == ours.recv()
        ours.send(time.perf_counter_ns())
        while not isinstance(done := ours.recv(), Done):
            pass
        ours.close()
        theirs.close()
        client.join(10.0)

    assert done.awake == done.realtime


def test_a_client_whose_orchestrator_was_killed_puts_it_back(tmp_path: Path) -> None:
    """kill -9 of the orchestrator gives its client the time to leave the host as it was."""
    path = tmp_path / CPUS / f"cpu{max(os.sched_getaffinity(0))}/power/pm_qos_resume_latency_us"
    machine(tmp_path, core=max(os.sched_getaffinity(0)))
    argv = (sys.executable, "-c", ORCHESTRATOR, str(tmp_path))
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as orchestrator:
        assert orchestrator.stdout is not None
        realtime = orchestrator.stdout.readline() == "True\n"
        kept = path.read_text()
        orchestrator.send_signal(signal.SIGKILL)
        until_s = time.monotonic() + 10
        while path.read_text() != "0\n" and time.monotonic() < until_s:
            time.sleep(0.02)

    assert kept == ("2" if realtime else "0\n")  # without real-time priority nothing is pinned
    assert path.read_text() == "0\n"


def on_a_made_up_machine(pipe: Connection, root: Path) -> None:
    """A client's process whose /sys is that one."""
    worker.awake = partial(awake, root=root)  # type: ignore[attr-defined]
    worker.main(pipe)
