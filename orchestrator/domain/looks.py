"""What a look at a host saw: its GPUs, and the host beside them, at one moment. Pure values."""

from __future__ import annotations

from dataclasses import dataclass

from backends.contract import Value


class GpuProcess(Value):
    """Somebody on a GPU. `graphics`: a display's, which computes nothing; memory is None where the driver does
    not tell."""

    pid: int
    name: str = ""
    memory_bytes: int | None = None
    graphics: bool = False

    @property
    def text(self) -> str:
        return f"process {self.pid} {self.name}".strip()


@dataclass(frozen=True, slots=True)
class Sighting:
    """Somebody else's process on a GPU of ours, at one moment of CLOCK_MONOTONIC."""

    t_ns: int
    gpu: str
    process: GpuProcess

    @property
    def text(self) -> str:
        return f"{self.process.text} on {self.gpu}"


class GpuState(Value):
    """A GPU at one moment. None is what its driver does not tell. ECC counts are since the driver was loaded,
    `..._ever` since the card was made. `fault` says in words why it did not answer."""

    uuid: str
    index: int = -1
    name: str = ""
    driver: str = ""
    fault: str = ""
    memory_bytes: int = 0
    memory_used_bytes: int | None = None
    processes: tuple[GpuProcess, ...] | None = None
    temperature_c: float | None = None
    sm_clock_mhz: float | None = None
    sm_clock_max_mhz: float | None = None
    application_clock_mhz: float | None = None
    application_clock_default_mhz: float | None = None
    power_limit_w: float | None = None
    power_limit_default_w: float | None = None
    throttle: tuple[str, ...] | None = None
    ecc: bool | None = None
    ecc_corrected: int | None = None
    ecc_uncorrected: int | None = None
    ecc_corrected_ever: int | None = None
    ecc_uncorrected_ever: int | None = None
    rows_remapped: int | None = None
    rows_pending: bool | None = None
    rows_failed: bool | None = None
    mig: bool | None = None
    persistence: bool | None = None

    @property
    def title(self) -> str:
        return f"gpu{self.index}" if self.index >= 0 else self.uuid

    @property
    def configuration(self) -> str:
        """What decides how much memory an idle GPU has in use: the key under which its idle is kept."""
        modes = zip(("ecc", "mig", "persistence"), (self.ecc, self.mig, self.persistence), strict=True)
        return " ".join((self.uuid, self.name, self.driver, *(f"{name}={_word(on)}" for name, on in modes)))

    @property
    def strangers(self) -> tuple[GpuProcess, ...]:
        """Those that compute."""
        return tuple(p for p in self.processes or () if not p.graphics)

    @property
    def held_bytes(self) -> int | None:
        """Memory in use, without what a display is known to have."""
        if self.memory_used_bytes is None:
            return None
        return self.memory_used_bytes - sum(p.memory_bytes or 0 for p in self.processes or () if p.graphics)


class HostState(Value):
    """The host beside its GPUs. `others_cpus`: CPUs' worth of time that others used since the look before;
    `leftovers`: what dead runs of ours left alive."""

    memory_available_bytes: int
    cpus: int
    others_cpus: float | None = None
    load_1m: float | None = None
    leftovers: tuple[str, ...] = ()


class Snapshot(Value):
    """One look. `elapsed_s` is since the first; all GPUs of the host, since siblings are compared. `silent` tells
    of those that did not even say who they are."""

    elapsed_s: float
    silent: tuple[str, ...] = ()
    gpus: tuple[GpuState, ...] = ()
    host: HostState

    def gpu(self, uuid: str) -> GpuState:
        found = (gpu for gpu in self.gpus if gpu.uuid == uuid)
        among = f" ({'; '.join(self.silent)})" if self.silent else ""
        return next(found, GpuState(uuid=uuid, fault=f"is not among the GPUs that answer here{among}"))


def _word(on: bool | None) -> str:
    return "unknown" if on is None else "on" if on else "off"
