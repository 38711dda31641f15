"""What one tick of telemetry costs: `python -m tests.host.tick_cost`. Figures stand in docs/telemetry.md.

Measures the CPU time of this thread over many readings of each source: the host, the load client, a tree of
ten processes and a 50 kB page of an engine (whose server is another process, as the engine is).
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psutil
from prometheus_client.parser import text_string_to_metric_families

from orchestrator.domain.telemetry import Usage
from orchestrator.host.sources import client_source, engine_source, host_source, metrics_source
from tests.host.engine_page import METRICS, large_page

TREE = 10
SERVE = """
import threading
from tests.host.engine_page import large_page, serving
with serving(large_page()) as engine:
    print(engine.url, flush=True)
    input()
"""


def measure(readings: int) -> dict[str, float]:
    """CPU milliseconds of one reading, by source."""
    with process_tree() as root, engine_url() as url:
        sources = (
            host_source(),
            client_source([root.pid]),
            engine_source(lambda: tree_usage(root)),
            metrics_source(url, METRICS),
        )
        costs = {source.name: cpu_ms(source.read, readings) for source in sources}
        for source in sources:
            source.close()
    page = large_page()
    whole_ms = cpu_ms(lambda: list(text_string_to_metric_families(page)), readings)
    return {**costs, "(whole page parsed)": whole_ms}


def cpu_ms(read: Callable[[], object], readings: int) -> float:
    read()
    before_s = time.thread_time()
    for _ in range(readings):
        read()
    return (time.thread_time() - before_s) / readings * 1000


def tree_usage(root: psutil.Process) -> Usage:
    """What a runtime without containers has to do: look at each process of the engine."""
    processes = [root, *root.children(recursive=True)]
    times = [process.cpu_times() for process in processes]
    memory_bytes = sum(process.memory_info().rss for process in processes)
    return Usage(sum(t.user + t.system for t in times), memory_bytes, len(processes))


@contextmanager
def process_tree() -> Iterator[psutil.Process]:
    """A process with `TREE - 1` children, all asleep until their standard input closes."""
    script = f"""
import subprocess, sys
children = [subprocess.Popen(["cat"]) for _ in range({TREE - 1})]
print("up", flush=True)
sys.stdin.read()
for child in children: child.wait()
"""
    with talking(script) as (process, _):
        yield psutil.Process(process.pid)


@contextmanager
def engine_url() -> Iterator[str]:
    with talking(SERVE) as (_, url):
        yield url


@contextmanager
def talking(script: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A Python process and the first line that it prints; it ends when its standard input does."""
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield process, process.stdout.readline().strip()
        process.stdin.write("\n")
        process.stdin.close()


if __name__ == "__main__":
    costs = measure(readings=200)
    for name, cost_ms in costs.items():
        sys.stdout.write(f"{name:20} {cost_ms:6.2f} ms\n")
    tick_ms = sum(cost for name, cost in costs.items() if not name.startswith("("))
    sys.stdout.write(f"{'one tick':20} {tick_ms:6.2f} ms\n")
