"""A GPU's whole state at one moment, for the clean-room gate; what it does not tell is None."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

import psutil
import pynvml

from orchestrator.domain.looks import GpuProcess, GpuState
from orchestrator.host.gpu import UNSUPPORTED, Nvml, decode, temperature_c, throttle_mask

T = TypeVar("T")
CORRECTED, UNCORRECTED = pynvml.NVML_MEMORY_ERROR_TYPE_CORRECTED, pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED
VOLATILE, EVER = pynvml.NVML_VOLATILE_ECC, pynvml.NVML_AGGREGATE_ECC


def states(nvml: Nvml) -> tuple[GpuState, ...]:
    """Of every GPU that NVML found when it was opened, in its order; a fault is told in the state."""
    return tuple(_state(nvml, gpu.uuid) for gpu in nvml.gpus())


def process_name(pid: int) -> str:
    """The program's name; empty where this user, or this pid namespace, does not see it. Never its command
    line, which may hold secrets of others."""
    with suppress(psutil.Error):
        return str(psutil.Process(pid).name())
    return ""


def _state(nvml: Nvml, uuid: str) -> GpuState:
    index, handle = nvml.index(uuid), nvml.handle(uuid)
    description = next(gpu for gpu in nvml.gpus() if gpu.uuid == uuid)
    named = {"uuid": uuid, "index": index, "name": description.name, "driver": description.driver}
    try:
        return GpuState(**named, **_told(handle), processes=_processes(nvml, uuid))
    except pynvml.NVMLError as error:
        return GpuState(**named, fault=str(error))


def _told(handle: Any) -> dict[str, Any]:
    """Field -> value. NVMLError for a GPU that is lost."""
    memory = _asked(lambda: pynvml.nvmlDeviceGetMemoryInfo(handle))
    rows = _asked(lambda: pynvml.nvmlDeviceGetRemappedRows(handle))
    pages = _asked(lambda: pynvml.nvmlDeviceGetRetiredPagesPendingStatus(handle))
    mask = _asked(lambda: throttle_mask(handle))
    clock = pynvml.NVML_CLOCK_SM
    return {
        "memory_bytes": memory.total if memory else 0,
        "memory_used_bytes": memory.used if memory else None,
        "temperature_c": _asked(lambda: temperature_c(handle)),
        "sm_clock_mhz": _asked(lambda: pynvml.nvmlDeviceGetClockInfo(handle, clock)),
        "sm_clock_max_mhz": _asked(lambda: pynvml.nvmlDeviceGetMaxClockInfo(handle, clock)),
        "application_clock_mhz": _asked(lambda: pynvml.nvmlDeviceGetApplicationsClock(handle, clock)),
        "application_clock_default_mhz": _asked(
            lambda: pynvml.nvmlDeviceGetDefaultApplicationsClock(handle, clock)
        ),
        "power_limit_w": _asked(lambda: pynvml.nvmlDeviceGetEnforcedPowerLimit(handle) / 1000),
        "power_limit_default_w": _asked(
            lambda: pynvml.nvmlDeviceGetPowerManagementDefaultLimit(handle) / 1000
        ),
        "throttle": None if mask is None else tuple(r.name.lower() for r in decode(mask) if r.name),
        "ecc": _asked(lambda: bool(pynvml.nvmlDeviceGetEccMode(handle)[0])),
        "ecc_corrected": _errors(handle, CORRECTED, VOLATILE),
        "ecc_uncorrected": _errors(handle, UNCORRECTED, VOLATILE),
        "ecc_corrected_ever": _errors(handle, CORRECTED, EVER),
        "ecc_uncorrected_ever": _errors(handle, UNCORRECTED, EVER),
        "rows_remapped": rows[0] + rows[1] if rows else None,
        # cards before Ampere retire pages instead of remapping rows
        "rows_pending": bool(rows[2]) if rows else None if pages is None else bool(pages),
        "rows_failed": bool(rows[3]) if rows else None,
        "mig": _asked(lambda: bool(pynvml.nvmlDeviceGetMigMode(handle)[0])),
        "persistence": _asked(lambda: bool(pynvml.nvmlDeviceGetPersistenceMode(handle))),
    }


def _errors(handle: Any, kind: int, since: int) -> int | None:
    return _asked(lambda: int(pynvml.nvmlDeviceGetTotalEccErrors(handle, kind, since)))


def _processes(nvml: Nvml, uuid: str) -> tuple[GpuProcess, ...] | None:
    found = nvml.processes(uuid)
    if found is None:
        return None
    return tuple(
        GpuProcess(pid=p.pid, name=process_name(p.pid), memory_bytes=p.memory_bytes, graphics=p.graphics)
        for p in found
    )


def _asked(call: Callable[[], T]) -> T | None:
    """None for what this GPU or driver does not have; NVMLError where it fails for another reason."""
    try:
        return call()
    except pynvml.NVMLError as error:
        if error.value in UNSUPPORTED:
            return None
        raise
