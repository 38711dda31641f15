"""Keeping the client's core from deep sleep while it measures, as cyclictest does for the whole machine.

A core that sleeps between two events wakes late: 50 us where a hypervisor takes it away, 100 to 200 us out of a
server's deepest state. Only the client's own core is kept awake (the kernel's per-CPU PM QoS): the engine is to
find the machine as it is.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrator.host.locks import taken

ROOT = Path("/")
CPUS = "sys/devices/system/cpu"
MEMORY = "run"  # as long-lived as what stands in /sys
# What the kernel takes (Documentation/ABI/testing/sysfs-devices-power): microseconds that waking up may last
HALTED = "2"  # C1 and no deeper, where the driver knows its states
NOT_AT_ALL = "n/a"  # a guest's only state ends in the hypervisor, of whose latency the driver knows nothing
GUEST = "haltpoll"
NO_DRIVER = "none"


@contextmanager
def awake(core: int | None, root: Path = ROOT) -> Iterator[bool]:
    """Whether we keep this core awake meanwhile; afterwards it is as it was. It takes root, a kernel that has a say
    in how cores sleep, and nobody else who does the same.

    What there was before stands in a locked file meanwhile: one who was killed left it there for the next.
    """
    tolerance = root / CPUS / f"cpu{core}/power/pm_qos_resume_latency_us"
    try:
        driver = (root / CPUS / "cpuidle/current_driver").read_text(encoding="ascii").strip()
        found = tolerance.read_text(encoding="ascii")
        memory = os.open(
            root / MEMORY / f"levelbench-cpu{core}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
        )
    except OSError:
        yield False
        return
    with os.fdopen(memory, "r+", encoding="ascii") as before:
        if driver == NO_DRIVER or not taken(memory):
            yield False
            return
        value = before.read()
        if not value:
            value = found
            before.write(value)
            before.flush()
        try:
            tolerance.write_text(NOT_AT_ALL if driver == GUEST else HALTED, encoding="ascii")
        except OSError:  # /sys is read-only in most containers
            before.truncate(0)
            yield False
            return
        try:
            yield True
        finally:
            tolerance.write_text(value, encoding="ascii")
            before.truncate(0)
