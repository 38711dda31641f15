"""orchestrator/host/gate.py from the driver's library (a stub) to the refusal, on a clock of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from orchestrator.domain.cleanroom import Cleared, Known, Moment, Obstacle, Wanted
from orchestrator.errors import HostError, NotCleanError
from orchestrator.host import gate
from orchestrator.host.gate import Gate, Pace
from orchestrator.host.gpu import Nvml
from orchestrator.host.gpu_state import states
from tests.fakes.nvml import Stub

UUID = "GPU-stub-0"
CARD = 80 * 2**30
LEAKED = "memory_used 0 4073741824"


class Clock:
    """Time passes while somebody sleeps; `at` says what happens then."""

    def __init__(self, at: Callable[[float], object] = lambda _: None) -> None:
        self.now_s = 0.0
        self._at = at

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds
        self._at(self.now_s)

    def pace(self) -> Pace:
        return Pace(clock=lambda: self.now_s, sleep=self.sleep)


def the_gate(
    cache_dir: Path,
    clock: Clock | None = None,
    gpus: tuple[str, ...] = (UUID,),
    leftovers: Callable[[], tuple[str, ...]] = lambda: (),
) -> Gate:
    return Gate(cache_dir, Wanted(gpus=gpus), leftovers, (clock or Clock()).pace())


def look(passing: Gate, moment: Moment = Moment.BEFORE) -> tuple[Cleared, list[str]]:
    said: list[str] = []
    return passing.look(moment, said.append), said


@pytest.fixture
def seen_before(nvml_stub: Stub, tmp_path: Path) -> Stub:
    """A GPU whose idle is known."""
    gate.require(look(the_gate(tmp_path))[0])
    return nvml_stub


def test_a_state_has_everything_that_nvml_tells(nvml_stub: Stub) -> None:
    """Memory, processes with names, temperature, clocks, power, throttling, ECC, rows, MIG, persistence."""
    nvml_stub.script(
        "processes * 1", f"first_pid * {os.getpid()}", "graphics * 1", "throttle * 1", "rows_remapped * 2"
    )
    with Nvml() as nvml:
        (state,) = states(nvml)

    assert {
        "uuid": UUID,
        "index": 0,
        "name": "Stub A100",
        "driver": "535.104.05",
        "fault": "",
        "memory_bytes": CARD,
        "memory_used_bytes": 2**30,
        "processes": (
            {
                "pid": os.getpid(),
                "name": psutil.Process().name(),
                "memory_bytes": 2**29,
                "graphics": False,
            },
            {"pid": 5000, "name": "", "memory_bytes": 2**29, "graphics": True},
        )[:: 1 if os.getpid() < 5000 else -1],
        "temperature_c": 54.0,
        "sm_clock_mhz": 1410.0,
        "sm_clock_max_mhz": 1410.0,
        "application_clock_mhz": 1275.0,
        "application_clock_default_mhz": 1275.0,
        "power_limit_w": 400.0,
        "power_limit_default_w": 400.0,
        "throttle": ("gpu_idle",),
        "ecc": True,
        "ecc_corrected": 3,
        "ecc_uncorrected": 0,
        "ecc_corrected_ever": 30,
        "ecc_uncorrected_ever": 1,
        "rows_remapped": 2,
        "rows_pending": False,
        "rows_failed": False,
        "mig": False,
        "persistence": True,
    } == state.model_dump()


@pytest.mark.parametrize(
    ("function", "field"),
    [
        ("nvmlDeviceGetMemoryInfo", "memory_used_bytes"),
        ("nvmlDeviceGetRemappedRows", "rows_failed"),
        ("nvmlDeviceGetMigMode", "mig"),
        ("nvmlDeviceGetPersistenceMode", "persistence"),
        ("nvmlDeviceGetEccMode", "ecc"),
        ("nvmlDeviceGetTotalEccErrors", "ecc_corrected"),
        ("nvmlDeviceGetApplicationsClock", "application_clock_mhz"),
        ("nvmlDeviceGetPowerManagementDefaultLimit", "power_limit_default_w"),
        ("nvmlDeviceGetComputeRunningProcesses_v3", "processes"),
    ],
)
def test_what_a_gpu_does_not_have_is_none(nvml_stub: Stub, function: str, field: str) -> None:
    """Not supported is neither 0 nor a fault."""
    nvml_stub.script(f"{function} 0 3")
    with Nvml() as nvml:
        (state,) = states(nvml)

    assert (None, "") == (getattr(state, field), state.fault)


def test_cards_without_row_remapping_tell_of_pages(nvml_stub: Stub) -> None:
    """Before Ampere, pages wait to be retired."""
    nvml_stub.script("nvmlDeviceGetRemappedRows 0 3", "pages_pending 0 1")
    with Nvml() as nvml:
        (state,) = states(nvml)

    assert (True, None) == (state.rows_pending, state.rows_failed)


def test_a_clean_host_is_passed_and_its_idle_learnt(nvml_stub: Stub, tmp_path: Path) -> None:
    """At first sight a GPU is watched for as long as it could still cool down, then taken as it is."""
    clock = Clock()

    cleared, said = look(the_gate(tmp_path, clock))

    gate.require(cleared)
    assert 10.0 == clock.now_s
    assert ["waiting for gpu0 is at 54 degrees C, its idle is not known yet"] == said[-1:]
    known = Known.model_validate_json((tmp_path / gate.FILE).read_bytes())
    ((key, idle),) = known.gpus.items()
    assert key.startswith(f"{UUID} Stub A100 535.104.05 ecc=on mig=off")
    assert (2**30, 0, (54.0,)) == (idle.memory_bytes, idle.memory_noise_bytes, idle.temperatures_c)
    assert any("for the first time" in remark for remark in cleared.remarks)


def test_a_gpu_that_is_known_is_passed_at_once(seen_before: Stub, tmp_path: Path) -> None:
    """Three looks; nothing is said; the snapshot holds what was seen and what was known."""
    clock = Clock()

    cleared, said = look(the_gate(tmp_path, clock))

    assert (1.0, []) == (clock.now_s, said)
    assert ((), ()) == (cleared.in_the_way, cleared.remarks)
    assert 2**30 == cleared.known.idle(cleared.snapshot.gpus[0]).memory_bytes


def test_memory_is_waited_for_until_it_is_released(seen_before: Stub, tmp_path: Path) -> None:
    """The driver needs a moment; who waits is told for what."""
    seen_before.script(LEAKED)
    clock = Clock(lambda now_s: seen_before.script() if now_s >= 20 else None)

    cleared, said = look(the_gate(tmp_path, clock), Moment.AFTER)

    gate.require(cleared)
    assert 20.0 == clock.now_s
    assert "waiting for gpu0: 3.0 GB above its idle 1.1 GB" in said


@pytest.mark.parametrize(("moment", "deadline_s"), [(Moment.BEFORE, 300.5), (Moment.AFTER, 120.5)])
def test_a_leak_is_refused_with_the_next_step(
    seen_before: Stub, tmp_path: Path, moment: Moment, deadline_s: float
) -> None:
    """After the deadline: how much, of what, and what to do. Nothing of it is learnt."""
    known = (tmp_path / gate.FILE).read_bytes()
    seen_before.script(LEAKED)
    clock = Clock()
    cleared, _ = look(the_gate(tmp_path, clock), moment)

    with pytest.raises(NotCleanError, match=r"gpu0: 3\.0 GB above its idle 1\.1 GB") as caught:
        gate.require(cleared)

    assert deadline_s == clock.now_s
    assert "nvidia-smi" in caught.value.hint
    assert isinstance(caught.value, HostError)
    assert known == (tmp_path / gate.FILE).read_bytes()


def test_a_stranger_is_named(seen_before: Stub, tmp_path: Path) -> None:
    """A process of somebody else that computes on the GPU: its number, its program, its memory."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as stranger:
        seen_before.script("processes 0 1", f"first_pid 0 {stranger.pid}")
        cleared, said = look(the_gate(tmp_path))
        name = psutil.Process(stranger.pid).name()
        stranger.communicate(b"\n")

    assert [Obstacle.FOREIGN_PROCESS] == [thing.obstacle for thing in cleared.in_the_way]
    assert f"gpu0: process {stranger.pid} {name} holds 0.5 GB" == cleared.in_the_way[0].text
    assert said


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("mig 0 1", "MIG"),
        ("rows_pending 0 1", "waits for a reset"),
        ("nvmlDeviceGetMemoryInfo 0 15", "gpu0 does not answer"),
        ("lost 0 1", "GPU-stub-0 is not among the GPUs that answer here .*gpu0: GPU is lost"),
    ],
)
def test_what_no_waiting_mends_is_refused_at_once(
    seen_before: Stub, tmp_path: Path, script: str, words: str
) -> None:
    """No five minutes for a card that needs a reset."""
    seen_before.script("gpus * 2", script)
    clock = Clock()
    cleared, _ = look(the_gate(tmp_path, clock))

    with pytest.raises(NotCleanError, match=words):
        gate.require(cleared)

    assert 0.0 == clock.now_s


def test_only_the_gpus_asked_for_are_watched(nvml_stub: Stub, tmp_path: Path) -> None:
    """A neighbour's work on another card is its own business; on one of two that are asked for it is not."""
    nvml_stub.script("gpus * 3", "processes 1 1", "memory_used 1 60000000000")

    gate.require(look(the_gate(tmp_path, gpus=(UUID, "GPU-stub-2")))[0])
    cleared, _ = look(the_gate(tmp_path, gpus=(UUID, "GPU-stub-1")))

    assert {Obstacle.FOREIGN_PROCESS} <= {thing.obstacle for thing in cleared.in_the_way}
    assert all(thing.text.startswith("gpu1") for thing in cleared.in_the_way)


def test_a_host_without_gpus_goes_through_the_same_gate(tmp_path: Path) -> None:
    """Two looks before, one after; CPUs that others use are measured, and no NVML is asked."""
    passing = Gate(tmp_path, Wanted(), lambda: (), Pace(poll_s=0.3))

    before, _ = look(passing)
    after, _ = look(passing, Moment.AFTER)

    gate.require(before)
    gate.require(after)
    assert before.snapshot.elapsed_s >= 0.3
    assert before.snapshot.host.others_cpus is not None
    assert ((), None) == (after.snapshot.gpus, after.snapshot.host.others_cpus)
    assert before.snapshot.host.memory_available_bytes > 0


def test_what_a_dead_run_left_is_in_the_way(tmp_path: Path) -> None:
    """On any host; its name and the command that removes it are told."""
    left = iter([("run-1-one",), ("run-1-one",), ()])
    cleared, said = look(the_gate(tmp_path, gpus=(), leftovers=lambda: next(left)))

    gate.require(cleared)
    assert ["waiting for a dead run left run-1-one"] == said

    cleared, _ = look(the_gate(tmp_path, gpus=(), leftovers=lambda: ("run-1-one",)))
    with pytest.raises(NotCleanError, match="a dead run left run-1-one") as caught:
        gate.require(cleared)
    assert "make clean" in caught.value.hint


@pytest.fixture
def burning() -> Iterator[None]:
    """A process of somebody else's that takes what it gets of one CPU."""
    code = "print(1, flush=True)\nwhile True: pass"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as busy:
        assert busy.stdout is not None
        busy.stdout.readline()
        yield
        busy.kill()


def test_cpus_that_others_use_are_seen(burning: None) -> None:
    """At least a tenth of a CPU, however busy the host is; our own use does not count."""
    others = gate._Others()
    assert others.since_before() is None
    mine_s = psutil.Process().cpu_times().user
    while psutil.Process().cpu_times().user < mine_s + 0.5:
        pass

    assert 0.1 < (others.since_before() or 0.0) <= (os.cpu_count() or 1)


def test_a_damaged_memory_of_idles_is_told(nvml_stub: Stub, tmp_path: Path) -> None:
    """Never taken for an empty one: a leak would be learnt."""
    (tmp_path / gate.FILE).write_text("{")

    with pytest.raises(HostError, match=r"idle\.json.* cannot be read") as caught:
        look(the_gate(tmp_path))

    assert "remove it" in caught.value.hint
