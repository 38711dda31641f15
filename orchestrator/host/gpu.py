"""NVIDIA GPUs as NVML reports them; no setting of a GPU is changed.

A reading that a GPU or driver does not support is absent: never 0, never an exception. A reading that
fails for another reason (a GPU fell off the bus) is absent too, and counted in `faults`.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntFlag
from typing import TYPE_CHECKING, Any

import pynvml

from orchestrator.domain.provenance import Gpu

if TYPE_CHECKING:
    from typing_extensions import Self

Readings = dict[str, float]


class Throttle(IntFlag):
    """Why a GPU's clocks are below their maximum ("clocks event reasons" of nvml.h)."""

    GPU_IDLE = 0x1
    APPLICATIONS_CLOCKS = 0x2
    SW_POWER_CAP = 0x4
    HW_SLOWDOWN = 0x8
    SYNC_BOOST = 0x10
    SW_THERMAL = 0x20
    HW_THERMAL = 0x40
    HW_POWER_BRAKE = 0x80
    DISPLAY_CLOCKS = 0x100
    BOARD_LIMIT = 0x200
    RELIABILITY = 0x400


@dataclass(frozen=True, slots=True)
class GpuProcess:
    """A process on a GPU. `memory_bytes` is None where the driver does not tell (in a container, say);
    `graphics`: it draws and does not compute."""

    pid: int
    memory_bytes: int | None
    graphics: bool = False


class Nvml:
    """An open NVML, or the reason why there is none: `with Nvml() as nvml`, then `nvml.absence`."""

    def __init__(self) -> None:
        self.absence = ""
        self.broken: tuple[str, ...] = ()
        self.faults: Counter[str] = Counter()
        self.lost: set[str] = set()
        self.last_fault = ""
        self._open = False
        self._driver = ""
        self._handles: dict[str, tuple[int, Any]] = {}

    def open(self) -> Self:
        """Load NVML and find the GPUs. Never raises: `absence` says in one line why there are none."""
        try:
            pynvml.nvmlInit()
            self._open = True
            self._driver = pynvml.nvmlSystemGetDriverVersion()
            count = pynvml.nvmlDeviceGetCount()
        except pynvml.NVMLError as error:
            self.absence = _ABSENCES.get(error.value, f"NVML does not answer: {error}")
            return self
        self._find(count)
        return self

    def close(self) -> None:
        if not self._open:
            return
        self._open = False
        with contextlib.suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(self, *_: object) -> None:
        self.close()

    def gpus(self) -> tuple[Gpu, ...]:
        """The GPUs that answer, in NVML's order; those that do not are named in `broken`."""
        return tuple(self._describe(uuid, handle) for uuid, (_, handle) in self._handles.items())

    def index(self, uuid: str) -> int:
        """The number in `gpu0.power_w` and its like: the GPU's place in NVML's order."""
        return self._handles[uuid][0]

    def knows(self, uuid: str) -> bool:
        """Whether the GPU answered when NVML was opened."""
        return uuid in self._handles

    def title(self, uuid: str) -> str:
        """How its series begin: `gpu0`, or the UUID of a GPU that never answered."""
        return f"gpu{self._handles[uuid][0]}" if uuid in self._handles else uuid

    def handle(self, uuid: str) -> Any:
        """What NVML's calls take for it."""
        return self._handles[uuid][1]

    def read(self, uuid: str) -> Readings:
        """Everything that the GPU tells at this moment, under names such as `gpu0.power_w`."""
        if uuid not in self._handles:
            self._fault(uuid, f"no GPU {uuid}")
            self.lost.add(uuid)
            return {}
        index, handle = self._handles[uuid]
        values: Readings = {}
        failures = [error for reading in _READINGS if (error := _add(values, reading, handle))]
        if failures:
            self._fault(uuid, f"gpu{index}: {failures[0]}")
        if any(error.value in _LOST for error in failures):
            self.lost.add(uuid)
        return {f"gpu{index}.{name}": value for name, value in values.items()}

    def processes(self, uuid: str) -> tuple[GpuProcess, ...] | None:
        """The processes on a GPU; None where the driver does not tell."""
        try:
            return _processes(self._handles[uuid][1]) if uuid in self._handles else None
        except pynvml.NVMLError:
            return None

    def bus_id(self, uuid: str) -> str:
        """Its PCI address, as 00000000:3B:00.0; empty where the driver does not tell."""
        return str(_or(lambda: pynvml.nvmlDeviceGetPciInfo(self.handle(uuid)).busId, ""))

    def _find(self, count: int) -> None:
        self.broken = tuple(text for index in range(count) if (text := self._take(index)))
        if not self._handles:
            self.absence = "the NVIDIA driver is loaded, but no GPU answers"

    def _take(self, index: int) -> str:
        """Keep a GPU's handle; the text says why that could not be."""
        try:
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            self._handles[pynvml.nvmlDeviceGetUUID(handle)] = (index, handle)
        except pynvml.NVMLError as error:
            return f"gpu{index}: {error}"
        return ""

    def _describe(self, uuid: str, handle: Any) -> Gpu:
        return Gpu(
            uuid=uuid,
            name=_or(lambda: pynvml.nvmlDeviceGetName(handle), "unknown"),
            memory_bytes=_or(lambda: pynvml.nvmlDeviceGetMemoryInfo(handle).total, 0),
            driver=self._driver,
            compute_capability=_or(lambda: pynvml.nvmlDeviceGetCudaComputeCapability(handle), None),
        )

    def _fault(self, uuid: str, text: str) -> None:
        self.faults[uuid] += 1
        self.last_fault = text


def decode(mask: int) -> tuple[Throttle, ...]:
    """The known reasons in a throttle mask."""
    return tuple(reason for reason in Throttle if mask & reason)


_ABSENCES = {
    pynvml.NVML_ERROR_LIBRARY_NOT_FOUND: "no NVML library (libnvidia-ml.so.1): no NVIDIA driver is installed, "
    "or this container was not given it",
    pynvml.NVML_ERROR_DRIVER_NOT_LOADED: "the NVIDIA driver is not loaded",
    pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH: "the NVIDIA driver and its library differ in version: "
    "the driver was updated without a reboot",
    pynvml.NVML_ERROR_NO_PERMISSION: "this user may not talk to the NVIDIA driver",
}

# These say "not on this GPU or driver", which is no fault.
UNSUPPORTED = frozenset(
    {
        pynvml.NVML_ERROR_NOT_SUPPORTED,
        pynvml.NVML_ERROR_FUNCTION_NOT_FOUND,
        pynvml.NVML_ERROR_NO_PERMISSION,
        pynvml.NVML_ERROR_NO_DATA,
        pynvml.NVML_ERROR_VGPU_ECC_NOT_SUPPORTED,
        pynvml.NVML_ERROR_ARGUMENT_VERSION_MISMATCH,
        pynvml.NVML_ERROR_DEPRECATED,
    }
)


_LOST = frozenset({pynvml.NVML_ERROR_GPU_IS_LOST, pynvml.NVML_ERROR_RESET_REQUIRED})


def _utilisation(handle: Any) -> Readings:
    rates = pynvml.nvmlDeviceGetUtilizationRates(handle)
    return {"utilisation_percent": rates.gpu, "memory_utilisation_percent": rates.memory}


def _memory(handle: Any) -> Readings:
    return {"memory_used_bytes": pynvml.nvmlDeviceGetMemoryInfo(handle).used}


def _power(handle: Any) -> Readings:
    return {"power_w": pynvml.nvmlDeviceGetPowerUsage(handle) / 1000}


def _power_limit(handle: Any) -> Readings:
    return {"power_limit_w": pynvml.nvmlDeviceGetEnforcedPowerLimit(handle) / 1000}


def temperature_c(handle: Any) -> float:
    # The older call goes away with CUDA 14 (nvml.h); older drivers lack the newer one.
    calls = (pynvml.nvmlDeviceGetTemperature, pynvml.nvmlDeviceGetTemperatureV)
    return float(_first_known(*calls)(handle, pynvml.NVML_TEMPERATURE_GPU))


def _temperature(handle: Any) -> Readings:
    return {"temperature_c": temperature_c(handle)}


def _sm_clock(handle: Any) -> Readings:
    return {"sm_clock_mhz": pynvml.nvmlDeviceGetClockInfo(handle, pynvml.NVML_CLOCK_SM)}


def _memory_clock(handle: Any) -> Readings:
    return {"memory_clock_mhz": pynvml.nvmlDeviceGetClockInfo(handle, pynvml.NVML_CLOCK_MEM)}


def throttle_mask(handle: Any) -> int:
    # Older drivers know the same mask only by its older name (met by SemiAnalysisAI/InferenceX,
    # experimental/CollectiveX/runtime/probe.py).
    calls = (
        pynvml.nvmlDeviceGetCurrentClocksEventReasons,
        pynvml.nvmlDeviceGetCurrentClocksThrottleReasons,
    )
    return int(_first_known(*calls)(handle))


def _throttle(handle: Any) -> Readings:
    mask = throttle_mask(handle)
    held = decode(mask)
    flags = {f"throttle_{reason.name.lower()}": float(reason in held) for reason in Throttle if reason.name}
    return {"throttle_mask": mask, **flags}


def _ecc_corrected(handle: Any) -> Readings:
    return {"ecc_corrected_errors": _ecc_errors(handle, pynvml.NVML_MEMORY_ERROR_TYPE_CORRECTED)}


def _ecc_uncorrected(handle: Any) -> Readings:
    return {"ecc_uncorrected_errors": _ecc_errors(handle, pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED)}


def _ecc_errors(handle: Any, kind: int) -> float:
    """Since the driver was loaded."""
    return float(pynvml.nvmlDeviceGetTotalEccErrors(handle, kind, pynvml.NVML_VOLATILE_ECC))


def _process_count(handle: Any) -> Readings:
    return {"processes": len(_processes(handle))}


def _processes(handle: Any) -> tuple[GpuProcess, ...]:
    """One that computes and draws counts as one that computes."""
    draw = _or(lambda: pynvml.nvmlDeviceGetGraphicsRunningProcesses(handle), [])
    compute = pynvml.nvmlDeviceGetComputeRunningProcesses(handle)
    found = {p.pid: GpuProcess(p.pid, p.usedGpuMemory, graphics=True) for p in draw}
    found.update({p.pid: GpuProcess(p.pid, p.usedGpuMemory) for p in compute})
    return tuple(found[pid] for pid in sorted(found))


_READINGS: tuple[Callable[[Any], Readings], ...] = (
    _utilisation,
    _memory,
    _power,
    _power_limit,
    _temperature,
    _sm_clock,
    _memory_clock,
    _throttle,
    _ecc_corrected,
    _ecc_uncorrected,
    _process_count,
)


def _add(values: Readings, reading: Callable[[Any], Readings], handle: Any) -> pynvml.NVMLError | None:
    """Add one reading; why it failed, unless it is merely unsupported."""
    try:
        values |= reading(handle)
    except pynvml.NVMLError as error:
        return None if error.value in UNSUPPORTED else error
    return None


def _first_known(*calls: Callable[..., Any]) -> Callable[..., Any]:
    """A call that tries each of its spellings until the installed library knows one."""

    def call(*args: Any) -> Any:
        for spelling in calls[:-1]:
            with contextlib.suppress(pynvml.NVMLError_FunctionNotFound):
                return spelling(*args)
        return calls[-1](*args)

    return call


def _or(call: Callable[[], Any], otherwise: Any) -> Any:
    try:
        return call()
    except pynvml.NVMLError:
        return otherwise
