"""orchestrator/host/sources.py over the real /proc."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from types import SimpleNamespace

import psutil
import pytest

from orchestrator.domain.telemetry import Usage
from orchestrator.host.sources import (
    CpuShares,
    client_source,
    engine_source,
    host_source,
    metrics_source,
)
from orchestrator.host.summary import summarise
from orchestrator.host.telemetry import Telemetry
from tests.host.engine_page import METRICS, large_page, serving


def cpu_times(**seconds: float) -> SimpleNamespace:
    """What psutil.cpu_times gives on Linux."""
    fields = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal", "guest", "guest_nice")
    return SimpleNamespace(**{**dict.fromkeys(fields, 0.0), **seconds})


def test_the_engines_usage_is_read() -> None:
    """CPU seconds, memory and process count come from the runtime."""
    read = engine_source(lambda: Usage(cpu_s=12.5, memory_bytes=2**30, processes=3)).read

    assert read() == {"engine.cpu_s": 12.5, "engine.memory_bytes": 2**30, "engine.processes": 3}


def test_an_engine_that_is_gone_uses_nothing_that_is_known() -> None:
    """No engine, no values, no fault."""
    assert engine_source(lambda: None).read() == {}


def test_the_host_is_read() -> None:
    """Memory, swap and load are plausible figures of this machine; CPU shares come with the second reading."""
    source = host_source()
    first, second = source.read(), source.read()

    assert "host.cpu_percent" not in first
    assert 0 < second["host.memory_available_bytes"] <= psutil.virtual_memory().total
    assert second["host.load_1m"] >= 0
    assert second["host.swap_used_bytes"] >= 0


def test_cpu_shares_are_differences(monkeypatch: pytest.MonkeyPatch) -> None:
    """Busy and stolen time since the reading before, guest time not counted twice, waiting for disks idle."""
    readings = iter(
        [
            cpu_times(user=100, idle=100),
            cpu_times(user=103, system=1, idle=104, iowait=1, steal=1, guest=2),
        ]
    )
    monkeypatch.setattr(psutil, "cpu_times", lambda: next(readings))
    shares = CpuShares()

    assert shares.read() == {}
    assert shares.read() == {"host.cpu_percent": 40, "host.steal_percent": 10}


def test_cpu_shares_need_time_to_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two readings within one clock tick of the kernel have no share."""
    monkeypatch.setattr(psutil, "cpu_times", lambda: cpu_times(user=5, idle=5))
    shares = CpuShares()
    shares.read()

    assert shares.read() == {}


def test_the_client_is_read() -> None:
    """CPU seconds and resident memory of one process."""
    values = client_source([os.getpid()]).read()

    assert values["client.cpu_s"] > 0
    assert values["client.memory_bytes"] > 2**20


def test_a_client_of_several_processes_is_read_as_one() -> None:
    """What the second of them uses is the client's too, not a stranger's on this host."""
    work = "import sys; sum(range(3_000_000)); print('worked', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", work], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as second:
        assert second.stdout is not None
        assert "worked\n" == second.stdout.readline()
        before = client_source([os.getpid()]).read()
        both = client_source([os.getpid(), second.pid]).read()
        times = psutil.Process(second.pid).cpu_times()
        second.communicate("")

    assert times.user > 0
    assert both["client.cpu_s"] >= before["client.cpu_s"] + times.user + times.system
    assert both["client.memory_bytes"] > before["client.memory_bytes"] + 2**20


def test_a_client_that_is_gone_has_no_values() -> None:
    """A process that has ended is no fault of telemetry, nor is what is left of the client a reading of it."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait(timeout=30)

    assert client_source([os.getpid(), gone.pid]).read() == {}


def test_the_engines_page_is_a_source() -> None:
    """The engine's own figures, closed with the source."""
    with serving(large_page()) as engine:
        source = metrics_source(engine.url, METRICS)

        assert source.read()["metrics.running"] == 1
        source.close()


def test_a_run_is_read_and_summarised() -> None:
    """All sources together, on one time axis, come to levels and rates of the window between two moments."""
    began_ns = time.perf_counter_ns()
    client = client_source([os.getpid()])
    engine = engine_source(lambda: Usage(cpu_s=2 * time.perf_counter(), memory_bytes=1, processes=1))
    with serving(large_page()) as page:
        sources = [host_source(), client, engine, metrics_source(page.url, METRICS)]
        with Telemetry(sources, period_s=0.01) as telemetry:
            while min(len([s for s in telemetry.samples() if s.source == x.name]) for x in sources) < 3:
                time.sleep(0.001)

    summary = summarise(telemetry.samples(), began_ns, time.perf_counter_ns())

    assert summary.mean["engine.cpu_cores"] == pytest.approx(2, rel=0.01)
    assert summary.mean["client.cpu_cores"] >= 0
    assert summary.mean["metrics.generated_tokens_per_s"] == 0
    assert summary.max["host.memory_available_bytes"] > 0
