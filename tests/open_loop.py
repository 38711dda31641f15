"""How late an open loop's requests are at the server, by its own log: python -m tests.open_loop.

    python -m tests.open_loop 50,200,1000 8        # requests per second, seconds of each

The table in docs/measurements/client.md is from here.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace

import numpy as np

from orchestrator.domain.workload import Arrivals
from orchestrator.load.client import LoadClient
from orchestrator.load.spec import LoadSpec
from orchestrator.pace import due_ns
from orchestrator.selftest.run import DIALECT
from orchestrator.selftest.server import ReferenceServer, Schedule
from tests.load.test_arrivals import SPEC

RAMP_S = 1.0
SETTLE_S = 0.3


def row(server: ReferenceServer, client: LoadClient, spec: LoadSpec) -> str:
    """One rate: how many came, how late they were sent and were there, what the client took."""
    record = client.run(spec, DIALECT, on_live=lambda _: None, watch=lambda: None)
    time.sleep(SETTLE_S)
    log = server.take_log()
    came = [x for x in record.exchanges if x.id in log]
    there = np.array([log[x.id].arrival_ns - x.scheduled_ns for x in came]) / 1e3
    sent = np.array([x.send_ns - x.scheduled_ns for x in came]) / 1e3
    shown = [" / ".join(f"{v:,.0f}" for v in np.percentile(of, [50, 99, 100])) for of in (sent, there)]
    return " | ".join((f"{len(came):,} of {len(spec.due_ns or ()):,}", *shown, f"{record.client_cpu_s:.2f}"))


def main(rates: str, seconds: str) -> None:
    with ReferenceServer(Schedule(ttft_s=0.05, itl_s=0.02, tokens=4)) as server, LoadClient() as client:
        for rate in map(float, rates.split(",")):
            due = due_ns(Arrivals.POISSON, rate, RAMP_S, RAMP_S + float(seconds), "open loop")
            length_s = RAMP_S + float(seconds) + 1.0
            spec = replace(SPEC, port=server.port, due_ns=due, length_s=length_s, users=1024)
            print(f"{rate:g} | {row(server, client, spec)}")  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
