"""What telemetry reads of the engine's processes, this host, the load client, and the engine's own page."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection

import psutil

from backends.contract import MetricsMap
from orchestrator.domain.telemetry import Usage
from orchestrator.host.prometheus import Scraper
from orchestrator.host.telemetry import Source


def engine_source(usage: Callable[[], Usage | None]) -> Source:
    """What the engine's processes use, as the runtime tells it; nothing once they are gone."""

    def read() -> dict[str, float]:
        used = usage()
        if used is None:
            return {}
        return {
            "engine.cpu_s": used.cpu_s,
            "engine.memory_bytes": used.memory_bytes,
            "engine.processes": used.processes,
        }

    return Source("engine", read)


def metrics_source(url: str, metrics: MetricsMap) -> Source:
    """The engine's own figures."""
    scraper = Scraper(url, metrics)
    return Source("metrics", scraper.read, scraper.close)


def client_source(pids: Collection[int]) -> Source:
    """The load client's processes together, and ours, which reads what they spool; nothing once one is gone: a sum
    without it would be no reading of them."""
    mine = psutil.Process()

    def read() -> dict[str, float]:
        own = mine.cpu_times()
        try:
            used = [_used(pid) for pid in pids]
        except psutil.NoSuchProcess:
            return {}
        return {
            "client.cpu_s": sum(cpu_s for cpu_s, _ in used),
            "orchestrator.cpu_s": own.user + own.system,
            "client.memory_bytes": sum(memory_bytes for _, memory_bytes in used),
        }

    return Source("client", read)


def _used(pid: int) -> tuple[float, int]:
    """CPU seconds and memory of a process."""
    process = psutil.Process(pid)
    with process.oneshot():
        times = process.cpu_times()
        return times.user + times.system, process.memory_info().rss


def host_source() -> Source:
    """The whole machine, whoever uses it."""
    shares = CpuShares()

    def read() -> dict[str, float]:
        read = shares.read()
        if "host.cpu_percent" in read:
            read["host.busy_cpus"] = read["host.cpu_percent"] / 100 * (os.cpu_count() or 1)
        return {
            **read,
            "host.memory_available_bytes": psutil.virtual_memory().available,
            "host.swap_used_bytes": psutil.swap_memory().used,
            "host.load_1m": psutil.getloadavg()[0],
        }

    return Source("host", read)


class CpuShares:
    """Shares of all CPUs' time since the reading before, in percent; the first reading has none.

    psutil.cpu_percent would do, were its first answer not a 0 that nobody measured. `steal` is time in
    which another guest ran on our CPU: figures taken meanwhile are not the engine's.
    """

    def __init__(self) -> None:
        self._before: tuple[float, float, float] | None = None

    def read(self) -> dict[str, float]:
        times = psutil.cpu_times()
        # Guest time is contained in user and nice time already (proc_stat(5)).
        steal = getattr(times, "steal", 0.0)
        idle = times.idle + getattr(times, "iowait", 0.0)
        busy = times.user + times.nice + times.system + times.irq + times.softirq
        now = (idle + busy + steal, busy, steal)
        before, self._before = self._before, now
        if before is None or now[0] <= before[0]:
            return {}
        whole, used, stolen = (b - a for a, b in zip(before, now, strict=True))
        return {"host.cpu_percent": 100 * used / whole, "host.steal_percent": 100 * stolen / whole}
