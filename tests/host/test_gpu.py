"""orchestrator/host/gpu.py over pynvml's own path, down to a scripted shared library."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.domain.provenance import Gpu
from orchestrator.host.gpu import GpuProcess, Nvml, Throttle, decode
from tests.fakes.nvml import SCRIPT_VARIABLE, Stub

UUID = "GPU-stub-0"
SAY_ABSENCE = "from orchestrator.host.gpu import Nvml\nwith Nvml() as n: print(n.absence, n.gpus())"


def in_new_process(library_dir: Path, script: str) -> str:
    """What a fresh interpreter says whose dynamic loader looks into `library_dir` first."""
    environment = {**os.environ, "LD_LIBRARY_PATH": str(library_dir), SCRIPT_VARIABLE: script}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", SAY_ABSENCE],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout


def test_pynvml_finds_the_library_through_the_dynamic_loader(nvml_stub: Stub) -> None:
    """A GPU is found where libnvidia-ml.so.1 is on the loader's path."""
    said = in_new_process(nvml_stub.library_path.parent, str(nvml_stub.script_path))

    assert "GPU-stub-0" in said


def test_an_unloadable_library_is_an_absence(tmp_path: Path) -> None:
    """A file that is no shared library is told in one line, as no library would be."""
    (tmp_path / "libnvidia-ml.so.1").write_text("not ELF")

    said = in_new_process(tmp_path, "")

    assert said.startswith("no NVML library (libnvidia-ml.so.1)")
    assert said.endswith(" ()\n")


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (9, "the NVIDIA driver is not loaded"),
        (12, "no NVML library (libnvidia-ml.so.1)"),
        (18, "the NVIDIA driver and its library differ in version"),
        (4, "this user may not talk to the NVIDIA driver"),
        (999, "NVML does not answer: Unknown Error"),
    ],
)
def test_a_failed_opening_is_told_in_one_line(nvml_stub: Stub, code: int, expected: str) -> None:
    """Each way in which NVML does not open has its own sentence, and no GPU is listed."""
    nvml_stub.script(f"nvmlInitWithFlags * {code}")

    with Nvml() as nvml:
        assert nvml.absence.startswith(expected)
        assert "\n" not in nvml.absence
        assert nvml.gpus() == ()


def test_a_gpu_is_described(nvml_stub: Stub) -> None:
    """UUID, name, memory, driver and compute capability come from NVML."""
    with Nvml() as nvml:
        assert (
            Gpu(
                uuid=UUID,
                name="Stub A100",
                memory_bytes=80 * 2**30,
                driver="535.104.05",
                compute_capability=(8, 0),
            ),
        ) == nvml.gpus()
        assert nvml.absence == ""


def test_gpus_come_in_the_order_of_nvml(nvml_stub: Stub) -> None:
    """The number in a series' name is the place in NVML's order."""
    nvml_stub.script("gpus * 2")

    with Nvml() as nvml:
        assert [gpu.uuid for gpu in nvml.gpus()] == ["GPU-stub-0", "GPU-stub-1"]
        assert nvml.index("GPU-stub-1") == 1
        assert all(name.startswith("gpu1.") for name in nvml.read("GPU-stub-1"))


def test_a_reading_has_every_series_in_its_unit(nvml_stub: Stub) -> None:
    """Watts, bytes, MHz and degrees, under names that carry the unit."""
    nvml_stub.script("processes * 2")

    with Nvml() as nvml:
        values = nvml.read(UUID)

    flags = {name: value for name, value in values.items() if name.startswith("gpu0.throttle_")}
    assert dict.fromkeys(flags, 0.0) == flags
    assert {name: value for name, value in values.items() if name not in flags} == {
        "gpu0.utilisation_percent": 97,
        "gpu0.memory_utilisation_percent": 41,
        "gpu0.memory_used_bytes": 2**30,
        "gpu0.power_w": 250.5,
        "gpu0.power_limit_w": 400,
        "gpu0.temperature_c": 54,
        "gpu0.sm_clock_mhz": 1410,
        "gpu0.memory_clock_mhz": 1593,
        "gpu0.ecc_corrected_errors": 3,
        "gpu0.ecc_uncorrected_errors": 0,
        "gpu0.processes": 2,
    }


@pytest.mark.parametrize(
    ("function", "series"),
    [
        ("nvmlDeviceGetUtilizationRates", "utilisation_percent"),
        ("nvmlDeviceGetMemoryInfo", "memory_used_bytes"),
        ("nvmlDeviceGetPowerUsage", "power_w"),
        ("nvmlDeviceGetEnforcedPowerLimit", "power_limit_w"),
        ("nvmlDeviceGetClockInfo", "sm_clock_mhz"),
        ("nvmlDeviceGetTotalEccErrors", "ecc_corrected_errors"),
        ("nvmlDeviceGetComputeRunningProcesses_v3", "processes"),
        ("nvmlDeviceGetTemperature", "temperature_c"),
        ("nvmlDeviceGetCurrentClocksEventReasons", "throttle_mask"),
    ],
)
def test_an_unsupported_reading_is_absent(nvml_stub: Stub, function: str, series: str) -> None:
    """Not supported means no value (not 0), no fault, and every other reading as before."""
    with Nvml() as nvml:
        before = nvml.read(UUID)
        nvml_stub.script(f"{function} 0 3")
        after = nvml.read(UUID)

        assert f"gpu0.{series}" in before
        assert f"gpu0.{series}" not in after
        assert len(after) > len(before) // 3
        assert nvml.faults[UUID] == 0


def test_a_lost_gpu_gives_nothing_and_a_fault(nvml_stub: Stub) -> None:
    """A GPU that falls off the bus mid-run empties its own readings only, one fault per reading."""
    nvml_stub.script("gpus * 2")
    with Nvml() as nvml:
        assert nvml.read(UUID)
        nvml_stub.script("gpus * 2", "lost 0 1")

        assert nvml.read(UUID) == {}
        assert nvml.read(UUID) == {}
        assert nvml.faults[UUID] == 2
        assert nvml.last_fault == "gpu0: GPU is lost"
        assert nvml.processes(UUID) is None
        assert nvml.read("GPU-stub-1")
        assert nvml.faults["GPU-stub-1"] == 0


def test_one_failing_call_spares_the_others(nvml_stub: Stub) -> None:
    """A call that fails for no good reason is a fault, while the rest of the reading stands."""
    with Nvml() as nvml:
        nvml_stub.script("nvmlDeviceGetPowerUsage 0 999")
        values = nvml.read(UUID)

    assert "gpu0.power_w" not in values
    assert values["gpu0.temperature_c"] == 54
    assert nvml.faults[UUID] == 1


def test_a_gpu_that_is_not_there_is_a_fault(nvml_stub: Stub) -> None:
    """Reading a UUID that NVML never listed is counted, not raised."""
    with Nvml() as nvml:
        assert nvml.read("GPU-other") == {}
        assert nvml.processes("GPU-other") is None
        assert nvml.last_fault == "no GPU GPU-other"


def test_a_gpu_lost_before_opening_is_named(nvml_stub: Stub) -> None:
    """A GPU that does not answer from the start is not listed, but named with the reason."""
    nvml_stub.script("gpus * 2", "lost 1 1")

    with Nvml() as nvml:
        assert [gpu.uuid for gpu in nvml.gpus()] == ["GPU-stub-0"]
        assert nvml.broken == ("gpu1: GPU is lost",)


def test_a_driver_without_gpus_is_an_absence(nvml_stub: Stub) -> None:
    """A loaded driver with no GPU that answers says so."""
    nvml_stub.script("lost 0 1")

    with Nvml() as nvml:
        assert nvml.absence == "the NVIDIA driver is loaded, but no GPU answers"


def test_a_failing_shutdown_is_silent(nvml_stub: Stub) -> None:
    """Closing never raises, and a second close does nothing."""
    nvml_stub.script("nvmlShutdown * 1")

    with Nvml() as nvml:
        pass
    nvml.close()

    assert not nvml.faults


def test_a_missing_name_or_capability_does_not_hide_a_gpu(nvml_stub: Stub) -> None:
    """A GPU is listed even where parts of its description are unsupported."""
    nvml_stub.script("nvmlDeviceGetName 0 3", "nvmlDeviceGetCudaComputeCapability 0 3")

    with Nvml() as nvml:
        (gpu,) = nvml.gpus()

    assert (gpu.name, gpu.compute_capability) == ("unknown", None)


def test_throttling_is_a_mask_and_flags(nvml_stub: Stub) -> None:
    """A thermal slowdown under a power cap shows in the mask, in the flags and decoded."""
    mask = Throttle.SW_POWER_CAP | Throttle.HW_THERMAL
    nvml_stub.script(f"throttle * {int(mask)}")

    with Nvml() as nvml:
        values = nvml.read(UUID)

    assert values["gpu0.throttle_mask"] == 0x44
    raised = {name for name, value in values.items() if name.startswith("gpu0.throttle_") and value == 1}
    assert {"gpu0.throttle_sw_power_cap", "gpu0.throttle_hw_thermal"} == raised
    assert decode(0x44) == (Throttle.SW_POWER_CAP, Throttle.HW_THERMAL)


def test_an_unknown_throttle_bit_is_kept_in_the_mask() -> None:
    """A reason newer than this table decodes to nothing and breaks nothing."""
    assert decode(0x8000_0001) == (Throttle.GPU_IDLE,)


def test_older_spellings_are_tried(nvml_stub: Stub) -> None:
    """A driver that knows only clocks_throttle_reasons, or only the new temperature call, is still read."""
    nvml_stub.script(
        "nvmlDeviceGetCurrentClocksEventReasons * 13",
        "throttle_by_old_name * 64",
        "nvmlDeviceGetTemperature * 13",
    )

    with Nvml() as nvml:
        values = nvml.read(UUID)
        assert nvml.faults[UUID] == 0

    assert values["gpu0.throttle_hw_thermal"] == 1
    assert values["gpu0.temperature_c"] == 55


def test_processes_carry_their_memory_where_it_is_told(nvml_stub: Stub) -> None:
    """A process whose memory the driver hides is listed with None."""
    nvml_stub.script("processes * 2")

    with Nvml() as nvml:
        assert (GpuProcess(4000, 2**29), GpuProcess(4001, None)) == nvml.processes(UUID)


@pytest.mark.gpu
def test_a_real_gpu_is_read() -> None:
    """On a GPU box the real library answers with a plausible memory reading."""
    with Nvml() as nvml:
        assert nvml.absence == ""
        (gpu, *_) = nvml.gpus()
        values = nvml.read(gpu.uuid)
        prefix = f"gpu{nvml.index(gpu.uuid)}"

    assert 0 < values[f"{prefix}.memory_used_bytes"] <= gpu.memory_bytes
    assert f"{prefix}.throttle_mask" in values
