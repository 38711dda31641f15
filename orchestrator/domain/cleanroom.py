"""Whether a host is clean enough to measure on: what stands in the way, and what a reader must know. Pure.

Nothing is compared with a fixed number of MiB or degrees of a card: with what this very GPU was seen to idle
at (`Idle`), with its siblings, and with its own limits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from statistics import median

from pydantic import Field

from backends.contract import Value
from orchestrator.domain.looks import GpuProcess, GpuState, HostState, Snapshot

# Of a card's memory: what is less can move no KV budget, and readings that differ by less are steady.
MEMORY_SHARE = 0.0025
# Cards of one make may differ somewhat; only a GPU that was never seen before is compared with its kind.
KIN_SHARES = 4
# Above its own idle temperature a GPU is waited for as long as it still cools.
WARM_C = 10.0
# A GPU that idles this much above the coolest of its kind in the same host is worth a look.
ODD_C = 15.0
COOLING_C = 1.0
COOLING_S = 10.0
# Of the host's CPUs, above what others usually take.
CPU_SHARE = 0.05
REMEMBERED = 20
WHO_HOLDS_IT = "see who holds it (nvidia-smi; fuser -v /dev/nvidia*)"
SLOWED = ("hw_slowdown", "sw_thermal", "hw_thermal", "hw_power_brake")


class Moment(str, Enum):
    """When is looked: before a deployment, or after its teardown."""

    BEFORE = "before"
    AFTER = "after"


class Obstacle(str, Enum):
    """What keeps a cell from being measured."""

    UNSETTLED = "unsettled"
    GPU_MISSING = "gpu-missing"
    GPU_LOST = "gpu-lost"
    MIG = "mig"
    ROWS_PENDING = "rows-pending"
    ROWS_FAILED = "rows-failed"
    FOREIGN_PROCESS = "foreign-process"
    MEMORY = "memory"
    COOLING = "cooling"
    THROTTLED = "throttled"
    LEFTOVER = "leftover"
    HOST_MEMORY = "host-memory"


class Idle(Value):
    """What a GPU was seen to idle at: the lowest steady memory ever seen without a process that computes, how
    much such readings differed, and the temperatures of the latest looks that found it clean."""

    memory_bytes: int | None = None
    memory_noise_bytes: int = 0
    temperatures_c: tuple[float, ...] = ()

    @property
    def temperature_c(self) -> float | None:
        return min(self.temperatures_c, default=None)


class Known(Value):
    """What is known of a host from earlier looks; GPUs by `GpuState.configuration`. `others_cpus` are the
    latest readings of what others use."""

    gpus: Mapping[str, Idle] = Field(default_factory=dict)
    others_cpus: tuple[float, ...] = ()

    def idle(self, gpu: GpuState) -> Idle:
        return self.gpus.get(gpu.configuration, Idle())

    def of(self, gpus: Sequence[GpuState]) -> Known:
        """What concerns these."""
        keys = [gpu.configuration for gpu in gpus if gpu.configuration in self.gpus]
        return Known(gpus={key: self.gpus[key] for key in keys}, others_cpus=self.others_cpus)


class InTheWay(Value):
    """One obstacle. `passes`: whether waiting may help."""

    obstacle: Obstacle
    text: str
    next_step: str = ""
    passes: bool = True


class Wanted(Value):
    """What is about to be measured, or was: UUIDs of its GPUs, and the host's memory that it takes."""

    gpus: tuple[str, ...] = ()
    memory_bytes: int = 0

    def looks(self, moment: Moment) -> int:
        """How many must agree: three at a GPU, whose memory takes a while to be released; on a CPU two, since
        what others use is known between two looks, and after a teardown one."""
        return 3 if self.gpus else 2 if moment is Moment.BEFORE else 1


class Cleared(Value):
    """How the gate was passed, or why not: the last look, what was known before it, and what a reader of the
    figures must know."""

    moment: Moment
    snapshot: Snapshot
    known: Known
    remarks: tuple[str, ...] = ()
    in_the_way: tuple[InTheWay, ...] = ()


def in_the_way(
    moment: Moment, looks: Sequence[Snapshot], known: Known, wanted: Wanted
) -> tuple[InTheWay, ...]:
    """Everything that keeps the last of the looks from being clean. Temperature, throttling and settings do not
    matter after a teardown."""
    now, before = looks[-1], moment is Moment.BEFORE
    found = list(_host(now.host, wanted.memory_bytes if before else 0))
    for uuid in wanted.gpus:
        states = [look.gpu(uuid) for look in looks]
        if states[-1].fault:
            found.append(_lost(states[-1]))
            continue
        found += _memory(states[-wanted.looks(moment) :], known)
        if before:
            found += [*_broken(states[-1]), *_slowed(states[-1]), *_cooling(looks, uuid, known)]
    if not found and len(looks) < wanted.looks(moment):
        found.append(InTheWay(obstacle=Obstacle.UNSETTLED, text="one look is not enough"))
    return tuple(found)


def remarks(looks: Sequence[Snapshot], known: Known, wanted: Wanted) -> tuple[str, ...]:
    """What does not stand in the way, but a reader of the figures must know."""
    now = looks[-1]
    gpus = [now.gpu(uuid) for uuid in wanted.gpus]
    return tuple(
        text for gpu in gpus for text in (*_settings(gpu), *_warm(gpu, now, known), *_learning(gpu, known))
    ) + tuple(_busy(now.host, known))


def learnt(known: Known, looks: Sequence[Snapshot], wanted: Wanted) -> Known:
    """With what a clean host has shown. A higher idle is never learnt: it may be a leak."""
    now, gpus = looks[-1], dict(known.gpus)
    for uuid in wanted.gpus:
        gpu, idle = now.gpu(uuid), known.idle(now.gpu(uuid))
        temperatures = () if gpu.temperature_c is None else (gpu.temperature_c,)
        gpus[gpu.configuration] = Idle(
            **_lowest([look.gpu(uuid) for look in looks][-wanted.looks(Moment.BEFORE) :], idle),
            temperatures_c=(*idle.temperatures_c, *temperatures)[-REMEMBERED:],
        )
    others = () if now.host.others_cpus is None else (now.host.others_cpus,)
    return Known(gpus=gpus, others_cpus=(*known.others_cpus, *others)[-REMEMBERED:])


def _lowest(states: Sequence[GpuState], idle: Idle) -> dict[str, int | None]:
    held = [gpu.held_bytes for gpu in states if gpu.held_bytes is not None]
    if not held:
        return {"memory_bytes": idle.memory_bytes, "memory_noise_bytes": idle.memory_noise_bytes}
    level = round(median(held))
    return {
        "memory_bytes": level if idle.memory_bytes is None else min(idle.memory_bytes, level),
        "memory_noise_bytes": max(idle.memory_noise_bytes, max(held) - min(held)),
    }


def _host(host: HostState, needed_bytes: int) -> Iterator[InTheWay]:
    if host.leftovers:
        yield InTheWay(
            obstacle=Obstacle.LEFTOVER,
            text=f"a dead run left {', '.join(host.leftovers)}",
            next_step="`make clean` removes what dead runs left",
        )
    if host.memory_available_bytes < needed_bytes:
        yield InTheWay(
            obstacle=Obstacle.HOST_MEMORY,
            text=f"{_gb(host.memory_available_bytes)} of memory free, {_gb(needed_bytes)} needed",
            next_step="end what uses the memory",
        )


def _lost(gpu: GpuState) -> InTheWay:
    missing = gpu.index < 0
    return InTheWay(
        obstacle=Obstacle.GPU_MISSING if missing else Obstacle.GPU_LOST,
        text=f"{gpu.title} {gpu.fault}" if missing else f"{gpu.title} does not answer: {gpu.fault}",
        next_step="nvidia-smi -L lists what is there"
        if missing
        else "reset the GPU or restart the machine; dmesg (Xid) tells more",
        passes=False,
    )


def _memory(states: Sequence[GpuState], known: Known) -> Iterator[InTheWay]:
    """Strangers, and memory above idle: with a known idle the latest reading decides, without one a steady
    stretch does, if no sibling idles lower."""
    gpu = states[-1]
    for process in gpu.strangers:
        yield InTheWay(
            obstacle=Obstacle.FOREIGN_PROCESS,
            text=f"{gpu.title}: {process.text}" + _having(process),
            next_step="end it, or measure on another GPU (--gpus)",
        )
    held, idle = gpu.held_bytes, known.idle(gpu)
    if held is None:
        return
    own, kin = idle.memory_bytes, _sibling_bytes(gpu, known)
    if own is not None and held - own > tolerance_bytes(gpu, idle):
        step = f"{WHO_HOLDS_IT}; if this is how it idles now, take its entry out of idle.json in the cache folder"
        yield _above(gpu, held - own, f"its idle {_gb(own)}", step)
    elif own is None and kin is not None and held - kin > KIN_SHARES * _share(gpu):
        yield _above(gpu, held - kin, f"the {_gb(kin)} at which another {gpu.name} here idles", WHO_HOLDS_IT)
    elif own is None and _spread([s.held_bytes or 0 for s in states]) > _share(gpu):
        yield InTheWay(obstacle=Obstacle.UNSETTLED, text=f"{gpu.title}: its memory is not steady yet")


def _above(gpu: GpuState, more: int, than: str, next_step: str) -> InTheWay:
    text = f"{gpu.title}: {_gb(more)} above {than}"
    return InTheWay(obstacle=Obstacle.MEMORY, text=text, next_step=next_step)


def tolerance_bytes(gpu: GpuState, idle: Idle) -> float:
    """How far above its idle a GPU may be: twice what steady readings differed by, or what no KV budget notices.
    Steady readings differ by less than the latter, so that this cannot creep up."""
    return max(2 * idle.memory_noise_bytes, _share(gpu))


def _share(gpu: GpuState) -> float:
    return MEMORY_SHARE * gpu.memory_bytes


def _sibling_bytes(gpu: GpuState, known: Known) -> int | None:
    """The lowest known idle of a card of this host that is of the same make, modes and driver."""
    like = gpu.configuration.removeprefix(gpu.uuid)
    found = (idle.memory_bytes for key, idle in known.gpus.items() if key.endswith(like))
    return min((lowest for lowest in found if lowest is not None), default=None)


def _broken(gpu: GpuState) -> Iterator[InTheWay]:
    if gpu.mig:
        yield InTheWay(
            obstacle=Obstacle.MIG,
            text=f"{gpu.title} is cut into MIG instances, and no engine gets it as a whole",
            next_step=f"nvidia-smi -i {gpu.index} -mig 0, or measure on another GPU (--gpus)",
            passes=False,
        )
    if gpu.rows_pending:
        yield InTheWay(
            obstacle=Obstacle.ROWS_PENDING,
            text=f"{gpu.title} waits for a reset to replace faulty memory",
            next_step=f"nvidia-smi --gpu-reset -i {gpu.index}, or restart the machine",
            passes=False,
        )
    if gpu.rows_failed:
        yield InTheWay(
            obstacle=Obstacle.ROWS_FAILED,
            text=f"{gpu.title} could not replace faulty memory",
            next_step="have it replaced; measure on another GPU (--gpus)",
            passes=False,
        )


def _slowed(gpu: GpuState) -> Iterator[InTheWay]:
    held = [reason for reason in gpu.throttle or () if reason in SLOWED]
    if held:
        yield InTheWay(
            obstacle=Obstacle.THROTTLED,
            text=f"{gpu.title} is slowed down before any load ({', '.join(held)})",
            next_step="see its cooling and its power supply (nvidia-smi -q -d PERFORMANCE)",
        )


def _cooling(looks: Sequence[Snapshot], uuid: str, known: Known) -> Iterator[InTheWay]:
    """Above its idle temperature as long as it still falls; a warmer room must not block a night."""
    temperature_c = looks[-1].gpu(uuid).temperature_c
    idle_c = known.idle(looks[-1].gpu(uuid)).temperature_c
    if temperature_c is None or (idle_c is not None and temperature_c <= idle_c + WARM_C):
        return
    watched = [look for look in looks if look.elapsed_s >= looks[-1].elapsed_s - COOLING_S]
    highest_c = max(look.gpu(uuid).temperature_c or temperature_c for look in watched)
    enough = looks[-1].elapsed_s - looks[0].elapsed_s >= COOLING_S
    if not enough or highest_c - temperature_c >= COOLING_C:
        usual = "its idle is not known yet" if idle_c is None else f"it idles at {idle_c:.0f}"
        yield InTheWay(
            obstacle=Obstacle.COOLING,
            text=f"{looks[-1].gpu(uuid).title} is at {temperature_c:.0f} degrees C, {usual}",
            next_step="see its cooling",
        )


def _settings(gpu: GpuState) -> Iterator[str]:
    limit_w, default_w = gpu.power_limit_w, gpu.power_limit_default_w
    if limit_w is not None and default_w is not None and round(limit_w) != round(default_w):
        yield f"{gpu.title}: power limit {limit_w:.0f} W, by default {default_w:.0f} W"
    clock, default = gpu.application_clock_mhz, gpu.application_clock_default_mhz
    if clock is not None and default is not None and clock != default:
        yield f"{gpu.title}: application clock {clock:.0f} MHz, by default {default:.0f} MHz"
    if gpu.persistence is False:
        yield f"{gpu.title}: persistence mode is off: the driver may be loaded anew with each engine"
    if gpu.ecc_uncorrected:
        yield f"{gpu.title}: {gpu.ecc_uncorrected} uncorrected memory errors since the driver was loaded"
    for process in gpu.processes or ():
        if process.graphics:
            yield f"{gpu.title}: a display runs on it ({process.text})"


def _warm(gpu: GpuState, now: Snapshot, known: Known) -> Iterator[str]:
    temperature_c, idle_c = gpu.temperature_c, known.idle(gpu).temperature_c
    if temperature_c is None:
        return
    if idle_c is not None and temperature_c > idle_c + WARM_C:
        yield f"{gpu.title}: {temperature_c:.0f} degrees C before the load, it idled at {idle_c:.0f}"
    kin = [g.temperature_c for g in now.gpus if g.name == gpu.name and not g.strangers]
    coolest_c = min((c for c in kin if c is not None), default=temperature_c)
    if temperature_c > coolest_c + ODD_C:
        yield f"{gpu.title}: {temperature_c:.0f} degrees C, the coolest of its kind is at {coolest_c:.0f}"


def _learning(gpu: GpuState, known: Known) -> Iterator[str]:
    held, idle = gpu.held_bytes, known.idle(gpu)
    if held is None or (gpu.processes is None and idle.memory_bytes is None):
        yield f"{gpu.title}: who is on it cannot be told here"
    elif idle.memory_bytes is None:
        yield f"{gpu.title}: seen for the first time: {_gb(held)} in use are taken for its idle"
    elif idle.memory_bytes - held > tolerance_bytes(gpu, idle):
        yield (
            f"{gpu.title}: it idles at {_gb(held)}, not at {_gb(idle.memory_bytes)} as was thought: something "
            "lay on it in earlier runs"
        )


def _busy(host: HostState, known: Known) -> Iterator[str]:
    usual = min(known.others_cpus, default=0.0)
    if host.others_cpus is not None and host.others_cpus > usual + CPU_SHARE * host.cpus:
        seen = f"the least that was seen here is {usual:.1f}" if known.others_cpus else "at first sight"
        yield (f"others use {host.others_cpus:.1f} of {host.cpus} CPUs before the load, {seen}")


def _having(process: GpuProcess) -> str:
    return "" if process.memory_bytes is None else f" holds {_gb(process.memory_bytes)}"


def _spread(values: Sequence[int]) -> int:
    return max(values) - min(values)


def _gb(count: float) -> str:
    return f"{count / 1e9:.1f} GB"
