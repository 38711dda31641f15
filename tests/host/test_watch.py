"""orchestrator/host/watch.py and xids.py over the stub of the driver's library and a kernel log of our own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from orchestrator.host.locks import exists
from orchestrator.host.telemetry import ReadingError, Source
from orchestrator.host.watch import GpuWatch
from orchestrator.host.xids import KMSG, KernelLog
from tests.fakes.nvml import Stub

UUID, OTHER = "GPU-stub-0", "GPU-stub-1"
NOBODY: frozenset[int] = frozenset()
XID = "4,1234,5678,-;NVRM: Xid (PCI:0000:3b:00): 79, pid=1234, GPU has fallen off the bus.\n"


@pytest.fixture
def sources(tmp_path: Path) -> Iterator[Callable[..., tuple[Source, ...]]]:
    """Of a watch without a kernel log, unless one is named; closed at the end."""
    opened: list[Source] = []

    def of(*uuids: str, watch: GpuWatch | None = None, log: Path = tmp_path / "none") -> tuple[Source, ...]:
        watching = watch or GpuWatch(uuids, lambda: NOBODY, kernel_log=log)
        opened.extend(watching.sources())
        return tuple(opened)

    yield of
    for source in opened:
        source.close()


def test_each_gpu_is_a_source_of_its_own(nvml_stub: Stub, sources: Callable[..., tuple[Source, ...]]) -> None:
    """A GPU that is lost is a fault of its own source, and told; the other one goes on."""
    nvml_stub.script("gpus * 2")
    first, second = sources(UUID, OTHER)
    assert (250.5, 0.0) == (first.read()["gpu0.power_w"], first.read()["gpu0.lost"])
    nvml_stub.script("gpus * 2", "lost 0 1")

    with pytest.raises(ReadingError, match="gpu0: GPU is lost") as caught:
        first.read()
    assert {"gpu0.lost": 1.0} == caught.value.values
    assert 250.5 == second.read()["gpu1.power_w"]


def test_a_gpu_that_was_lost_before_is_told_by_its_uuid(
    nvml_stub: Stub, sources: Callable[..., tuple[Source, ...]]
) -> None:
    """It never said which number it has."""
    nvml_stub.script("gpus * 2", "lost 1 1")
    (source,) = sources(OTHER)

    with pytest.raises(ReadingError, match=f"no GPU {OTHER}") as caught:
        source.read()

    assert 1.0 == caught.value.values[f"{OTHER}.lost"]


def test_a_partly_failing_gpu_keeps_its_other_values(
    nvml_stub: Stub, sources: Callable[..., tuple[Source, ...]]
) -> None:
    """The values that were read travel with the fault; it is not lost."""
    (source,) = sources(UUID)
    nvml_stub.script("nvmlDeviceGetPowerUsage 0 999")

    with pytest.raises(ReadingError) as caught:
        source.read()

    assert (54, 0.0) == (caught.value.values["gpu0.temperature_c"], caught.value.values["gpu0.lost"])


@pytest.fixture
def stranger() -> Iterator[int]:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process.pid
        process.communicate(b"\n")


def test_strangers_are_told_from_ours(
    nvml_stub: Stub, stranger: int, sources: Callable[..., tuple[Source, ...]]
) -> None:
    """The engine's processes are left out; who else is there is counted, named and remembered with its time."""
    nvml_stub.script("processes 0 1", f"first_pid 0 {stranger}")
    ours: list[frozenset[int]] = [frozenset({stranger})]
    times = iter((5, 6, 7))
    watch = GpuWatch([UUID], lambda: ours[0], kernel_log=Path("/none"), clock=lambda: next(times))
    (source,) = sources(watch=watch)

    assert 0 == source.read()["gpu0.foreign_processes"]
    ours[0] = NOBODY
    assert 1 == source.read()["gpu0.foreign_processes"]
    assert 1 == source.read()["gpu0.foreign_processes"]

    name = psutil.Process(stranger).name()
    assert [f"process {stranger} {name} on gpu0"] == [s.text for s in watch.sightings(0, 10)]
    assert [6] == [s.t_ns for s in watch.sightings(6, 7)]
    assert () == watch.sightings(0, 5)


def test_an_engine_that_starts_a_process_meanwhile_is_no_stranger(
    nvml_stub: Stub, stranger: int, sources: Callable[..., tuple[Source, ...]]
) -> None:
    """Ours are asked for before and after the GPU: a worker may have come or gone between."""
    nvml_stub.script("processes 0 1", f"first_pid 0 {stranger}")
    for asked in ([NOBODY, frozenset({stranger})], [frozenset({stranger}), NOBODY]):
        (source, *_) = GpuWatch([UUID], iter(asked).__next__, kernel_log=Path("/none")).sources()
        assert 0 == source.read()["gpu0.foreign_processes"]
        source.close()


def test_who_is_ours_and_cannot_be_told_is_not_judged(
    nvml_stub: Stub, sources: Callable[..., tuple[Source, ...]]
) -> None:
    """A daemon in another pid namespace, or a driver that numbers processes otherwise: nobody is accused."""
    nvml_stub.script("processes 0 1", f"first_pid 0 {os.getpid()}")
    (source,) = sources(watch=GpuWatch([UUID], lambda: None, kernel_log=Path("/none")))
    assert "gpu0.foreign_processes" not in source.read()

    nvml_stub.script("processes 0 1", f"first_pid 0 {2**22 + 1}")
    (_, source) = sources(UUID)
    assert "gpu0.foreign_processes" not in source.read()


def test_a_process_of_another_user_exists() -> None:
    """Also where no signal may be sent to it."""
    assert exists(1)
    assert exists(os.getpid())
    assert not exists(2**22 + 1)


def test_xids_come_as_events_of_the_driver(
    nvml_stub: Stub, sources: Callable[..., tuple[Source, ...]]
) -> None:
    """Each is told once; those from before are not ours."""
    nvml_stub.script("event_number 0 5")
    (source,) = sources(UUID)
    assert 0 == source.read()["gpu0.xids"]

    nvml_stub.script("event_number 0 7", "xid 0 31")
    values = source.read()

    assert (2, 2) == (values["gpu0.xids"], values["gpu0.xid_31"])
    assert 0 == source.read()["gpu0.xids"]


@pytest.mark.parametrize(
    "function",
    [
        "nvmlDeviceGetSupportedEventTypes",
        "nvmlEventSetCreate",
        "nvmlDeviceRegisterEvents",
        "nvmlEventSetWait_v2",
    ],
)
def test_a_driver_without_events_is_not_listened_to(
    nvml_stub: Stub, function: str, sources: Callable[..., tuple[Source, ...]]
) -> None:
    """No series, so that a verdict says that nobody looked; no fault either."""
    nvml_stub.script(f"{function} * 3")
    (source,) = sources(UUID)

    assert "gpu0.xids" not in source.read()


def test_xids_are_read_from_the_kernels_log(
    nvml_stub: Stub, tmp_path: Path, sources: Callable[..., tuple[Source, ...]]
) -> None:
    """From now on, of our GPUs alone, told apart by their PCI addresses; also of one that NVML has lost."""
    nvml_stub.script("gpus * 2")
    log = tmp_path / "kmsg"
    log.write_text(XID)
    (_, source) = sources(UUID, log=log)
    assert {"gpu0.kernel_xids": 0} == source.read()

    nvml_stub.script("gpus * 2", "lost 0 1")
    with log.open("a") as file:
        file.write(XID + XID.replace("79", "31") + XID.replace("3b", "3c") + "6,1,2,-;usb 1-1: new device\n")

    assert {"gpu0.kernel_xids": 2, "gpu0.xid_79": 1, "gpu0.xid_31": 1} == source.read()
    assert {"gpu0.kernel_xids": 0} == source.read()


def test_a_log_that_may_not_be_read_is_left_out(
    nvml_stub: Stub, tmp_path: Path, sources: Callable[..., tuple[Source, ...]]
) -> None:
    """As for a user without the right to it; and so it is where no GPU is watched."""
    assert ["gpu-GPU-stub-0"] == [s.name for s in sources(UUID, log=tmp_path / "none")]
    assert () == GpuWatch([], lambda: NOBODY, kernel_log=tmp_path).sources()


@pytest.mark.skipif(not os.access(KMSG, os.R_OK), reason="this user may not read /dev/kmsg")
def test_the_real_log_never_blocks(nvml_stub: Stub) -> None:
    """At its end a reading comes back at once, with nothing."""
    log = KernelLog.opened(KMSG, [UUID])
    if log is None:
        pytest.skip("the kernel does not give its log here")

    assert {"gpu0.kernel_xids": 0} == log.read()
    log.close()
