"""A run made by hand: two engines, three loads; one cell suspect, one failed, one unfinished."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from backends.contract import Accelerator, Deviation, Dialect, FailureCause, Profile, Source
from orchestrator.domain.article import article
from orchestrator.domain.cell import Cell, CellGroup, Load, RuntimeKind, loads
from orchestrator.domain.exchange import Exchange, Outcome
from orchestrator.domain.metrics import Asked, ClientSide, summarise
from orchestrator.domain.provenance import Gpu, Host, Image, Provenance
from orchestrator.domain.request import Slo
from orchestrator.domain.result import Failure, Phase, Result, StepRecord, TelemetrySummary
from orchestrator.domain.verdict import judge
from orchestrator.domain.workload import Arrivals, SystemPrompt, Workload
from orchestrator.report.records import RunRecord, State, Stored
from tests.domain.made import exchange, span

WORKLOAD = Workload(id="quick", title="Quick", users=(1, 4, 16), ramp_s=5, duration_s=20)
GPU = Gpu(uuid="GPU-1", name="NVIDIA Test", memory_bytes=80 * 2**30, driver="570.1")
GPU_MEANS = {"gpu0.utilisation_percent": 87.5, "gpu0.power_w": 312.0}


def group(backend: str = "llama-cpp", **changes: Any) -> CellGroup:
    one = CellGroup(
        backend=backend,
        release="current",
        version={"llama-cpp": "0.4.1", "vllm": "0.32.0"}.get(backend, "1.0"),
        accelerator=Accelerator.CPU,
        model="small",
        profile=Profile.DEFAULTS,
        runtime=RuntimeKind.DOCKER,
        dialect=Dialect.OPENAI_CHAT,
        workload=WORKLOAD,
        loads=tuple(Load(users=n, system_prompt=SystemPrompt.WITHOUT) for n in WORKLOAD.users),
    )
    return one.model_copy(update=changes)


def cell(backend: str = "llama-cpp", users: int = 1, **changes: Any) -> Cell:
    return Cell(group=group(backend, **changes), load=Load(users=users, system_prompt=SystemPrompt.WITHOUT))


def load(users: int, *, ttft_s: float, gap_s: float, tokens: int, failing: int = 0) -> list[Exchange]:
    """Users that each ask again as soon as they were answered, for 25 s; the first few requests of the
    steady window fail if asked."""
    period_s = round(ttft_s + gap_s * tokens, 6)
    return [
        _one(5 * user / users + i * period_s, user, ttft_s, gap_s, tokens, failing=failing > user and i == 9)
        for user in range(users)
        for i in range(int((25 - 5 * user / users) / period_s) + 1)
    ]


def result(of: Cell, exchanges: list[Exchange], *, client_cpu_s: float = 1.0, **changes: Any) -> Result:
    asked = Asked(users=of.load.users)
    measured = span(steady_s=5, end_s=25)
    metrics = summarise(exchanges, measured, window_s=5, asked=asked, client=ClientSide(cpu_s=client_cpu_s))
    one = Result(
        cell=of,
        started_at="2026-11-23T04:31:00Z",
        metrics=metrics,
        verdict=judge(metrics, users=of.load.users),
        article=article(exchanges, measured, metrics, pings_s=(0.001,) * 5),
        telemetry=TelemetrySummary(mean={"engine.cpu_cores": 1.93}, max={"engine.memory_bytes": 412 * 2**20}),
        provenance=provenance(of.group),
        steps=(
            StepRecord(id="weights", key="a", cached=True, wall_s=312.0, output_bytes=2**30),
            StepRecord(
                id="build",
                key="b",
                cached=False,
                wall_s=41.0,
                peak_memory_bytes=3 * 2**30,
                output_bytes=500 * 2**20,
            ),
        ),
        phases_s={Phase.UP: 0.31, Phase.READY: 0.94, Phase.WARMUP: 1.2, Phase.MEASURE: 25.0},
    )
    return one.model_copy(update=changes)


def failed(of: Cell, **changes: Any) -> Result:
    failure = Failure(
        phase=Phase.READY,
        cause=FailureCause.MEMORY_KV_CACHE,
        message="the engine died with exit code 1 after 14.2 s",
        hint="lower --gpu-memory-utilization or take a shorter context",
        log_tail="INFO loading\nValueError: No available memory for the cache blocks.\n```\n| odd | log |",
    )
    one = Result(cell=of, started_at="2026-11-23T04:35:00Z", failure=failure, phases_s={Phase.UP: 0.4})
    return one.model_copy(update=changes)


def provenance(of: CellGroup) -> Provenance:
    return Provenance(
        levelbench="0.1.0",
        git_revision="7c24e96",
        git_dirty=True,
        host=Host(
            os="Debian GNU/Linux 12",
            kernel="6.1.0",
            machine="x86_64",
            cpu="Test CPU",
            cpus=2,
            memory_bytes=8 * 2**30,
            python="3.11.7",
        ),
        runtime=RuntimeKind.DOCKER,
        runtime_version="20.10.24",
        engine_version=of.version,
        image=Image(
            reference=f"levelbench/{of.backend}",
            digest="sha256:aa",
            base_digest="sha256:bb",
            size_bytes=10**9,
        ),
        argv=("serve", "--model", "/models/small"),
        env={"HF_HUB_OFFLINE": "1"},
        weights_digest="sha256:cc",
        prompts_name="own",
        prompts_digest="sha256:dd",
        packages={"numpy": "2.4.6", "httptools": "0.6.4"},
        effective={"kv_tokens": "8192"},
        deviations=(
            Deviation(
                setting="--parallel",
                value="16",
                reason="the default serves one user at a time",
                source=Source(text="server.cpp:120", verified=False),
            ),
        ),
    )


def stored(one: Result) -> Stored:
    return Stored(one.cell.id, State.COMPLETE, result=one, cell=one.cell)


def run() -> RunRecord:
    """What the golden report is made from."""
    waiting = cell("vllm", 16)
    cells = (
        stored(result(cell(users=1), load(1, ttft_s=0.05, gap_s=0.01, tokens=40))),
        stored(result(cell(users=4), load(4, ttft_s=0.08, gap_s=0.02, tokens=40))),
        stored(result(cell(users=16), load(16, ttft_s=0.2, gap_s=0.04, tokens=41, failing=3))),
        stored(result(cell("vllm", 1), load(1, ttft_s=0.04, gap_s=0.012, tokens=44))),
        stored(failed(cell("vllm", 4))),
        Stored(waiting.id, State.UNFINISHED, cell=waiting, reason="measuring began but did not end"),
    )
    return RunRecord(
        id="20261123-043000-llama-cpp-vllm-small",
        created_at="2026-11-23T04:30:00.000+00:00",
        cells=cells,
        torn_lines=(7,),
    )


OPEN = Workload(
    id="open",
    title="Open",
    arrivals=Arrivals.POISSON,
    rates=(2, 8),
    ramp_s=5,
    duration_s=20,
    slo=Slo(ttft_s=0.1, tpot_s=0.05),
)


def open_run(workload: Workload = OPEN) -> RunRecord:
    """Two engines in an open loop with limits; the second does not keep up."""
    cells = []
    for backend, ttft_s in (("llama-cpp", 0.05), ("vllm", 0.09)):
        of = group(backend, workload=workload, loads=loads(workload))
        for load_ in of.loads:
            rate = load_.rate_per_s or 4.0
            late_s = 0.2 if backend == "vllm" and rate > 4 else 0.0
            sent = [
                _one(i / rate, i, ttft_s + late_s, 0.01, 40, failing=False) for i in range(int(25 * rate))
            ]
            exchanges = [dataclasses.replace(x, scheduled_ns=x.send_ns) for x in sent]
            cells.append(stored(_open_result(Cell(group=of, load=load_), exchanges, workload.slo)))
    return RunRecord(
        id="20261123-043000-open", created_at="2026-11-23T04:30:00.000+00:00", cells=tuple(cells)
    )


def _open_result(of: Cell, exchanges: list[Exchange], slo: Slo | None) -> Result:
    metrics = summarise(
        exchanges,
        span(steady_s=5, end_s=25),
        window_s=5,
        asked=Asked(users=None, slo=slo),
        client=ClientSide(cpu_s=1.0),
    )
    return Result(
        cell=of,
        started_at="2026-11-23T04:31:00Z",
        metrics=metrics,
        verdict=judge(metrics, users=of.load.users),
        provenance=provenance(of.group),
    )


def _one(send_s: float, user: int, ttft_s: float, gap_s: float, tokens: int, *, failing: bool) -> Exchange:
    times_s = [send_s + ttft_s + i * gap_s for i in range(tokens)]
    if failing:
        return exchange(send_s, end_s=times_s[-1], outcome=Outcome.TIMEOUT, user=user)
    outcome = Outcome.OK if times_s[-1] < 25 else Outcome.CUT
    shown = [t for t in times_s if t < 25]
    count = tokens if outcome is Outcome.OK else None
    end_s = min(times_s[-1], 25.0)
    one = exchange(send_s, shown, end_s=end_s, outcome=outcome, user=user, completion_tokens=count)
    return dataclasses.replace(
        one, literal_tokens=np.array([i % 10 > 0 for i in range(len(shown))], np.int64)
    )
