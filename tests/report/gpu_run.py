"""A run of 60 cells on a GPU, MADE UP for tests of pages: no figure in it was measured anywhere.

`python -m tests.report.gpu_run FOLDER` writes it through the real stores, to look at its pages.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np

from backends.contract import Accelerator, Deviation, Dialect, FailureCause, Profile, Source
from orchestrator.domain.cell import Cell, CellGroup, Load, RuntimeKind
from orchestrator.domain.evidence import Evidence
from orchestrator.domain.exchange import CountedBy, Exchange, Outcome
from orchestrator.domain.metrics import Asked, ClientSide, summarise
from orchestrator.domain.provenance import Gpu, Host, Image, Provenance
from orchestrator.domain.result import Failure, Phase, Result, StepRecord
from orchestrator.domain.telemetry import Sample
from orchestrator.domain.verdict import judge
from orchestrator.domain.windows import Span
from orchestrator.domain.workload import SystemPrompt, Workload
from orchestrator.host.summary import summarise as summary
from orchestrator.host.summary import throttled
from orchestrator.store.runs import RunFolder

MADE_UP = "MADE UP FOR TESTS, NOT MEASURED"
START_NS = 5_000_000_000_000
GPU = Gpu(uuid="GPU-00000000-made-up", name="NVIDIA A100-SXM4-80GB", memory_bytes=80 * 2**30, driver="550.54")
USERS = (10, 50, 100)
WEIGHTS = {"8b": 16_060_556_376, "70b-awq": 39_800_000_000}
HOSTILE = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"


@dataclass(frozen=True, slots=True)
class Engine:
    """How a made-up engine behaves: seconds per step with one answer, and what each further one adds."""

    name: str
    version: str
    step_s: float
    further_s: float
    ttft_s: float
    tokens: int
    start_s: float


ENGINES = (
    Engine("lmdeploy", "0.4.0", 0.0118, 0.000115, 0.055, 210, 41),
    Engine("mlc-llm", "0.1.dev1251", 0.0116, 0.000190, 0.048, 205, 320),
    Engine("tensorrt-llm", "0.9.0", 0.0125, 0.000230, 0.090, 198, 610),
    Engine("tgi", "2.0.4", 0.0142, 0.000240, 0.110, 214, 52),
    Engine("vllm", "0.4.2", 0.0150, 0.000235, 0.060, 201, 48),
)


def write(
    path: Path, *, length_s: float = 300, users: tuple[int, ...] = USERS, title: str = MADE_UP
) -> RunFolder:
    """The whole run; `length_s` is what is measured of each cell."""
    groups = [_group(e, model, users, length_s) for model in WEIGHTS for e in ENGINES]
    plan = {
        "groups": [
            {
                "group": group.model_dump(mode="json"),
                "model": {"id": group.model, "weights_bytes": WEIGHTS[group.model], "served_bytes": None},
                "request": {
                    "dialect": group.dialect.value,
                    "refused": ["seed"] if group.backend == "tgi" else [],
                },
            }
            for group in groups
        ],
        "refused": [
            {
                "backend": "sglang",
                "release": "2024-06",
                "model": "70b-awq",
                "refusal": {"reason": f"{title}: as if it could not"},
            }
        ],
    }
    run = RunFolder.create_at(path, plan, cells=[cell for group in groups for cell in group.cells])
    for group, engine in zip(groups, ENGINES * len(WEIGHTS), strict=True):
        for cell in group.cells:
            _cell(run, cell, engine, length_s)
    return run


def _cell(run: RunFolder, cell: Cell, engine: Engine, length_s: float) -> None:
    folder = run.cell(cell.id)
    heavy, crowded = cell.group.model == "70b-awq", cell.load.users == max(cell.group.workload.users)
    if engine.name == "mlc-llm" and heavy and cell.load.system_prompt is SystemPrompt.WITH and crowded:
        folder.begin(cell)  # as if the host had died then
        return
    if engine.name == "tgi" and heavy and cell.load.users > min(cell.group.workload.users):
        folder.save(_failed(cell))
        return
    rng = np.random.default_rng(crc32(cell.id.encode()))
    exchanges = list(_exchanges(cell, engine, rng, length_s))
    samples = list(_samples(cell, engine, rng, length_s))
    folder.save(_result(cell, engine, exchanges, samples, length_s), exchanges=exchanges, samples=samples)


def _middle(cell: Cell) -> int:
    users = sorted(cell.group.workload.users)
    return users[len(users) // 2]


def _group(engine: Engine, model: str, users: tuple[int, ...], length_s: float) -> CellGroup:
    prompts = (SystemPrompt.WITHOUT, SystemPrompt.WITH)
    return CellGroup(
        backend=engine.name,
        release="2024-06",
        version=engine.version,
        accelerator=Accelerator.CUDA,
        model=model,
        profile=Profile.PUBLISHED,
        runtime=RuntimeKind.DOCKER,
        dialect=Dialect.OPENAI_CHAT,
        workload=Workload(
            id="article", title="Made up", users=users, ramp_s=20, duration_s=length_s, system_prompts=prompts
        ),
        loads=tuple(Load(users=n, system_prompt=p) for p in prompts for n in users),
    )


def _step_s(cell: Cell, engine: Engine) -> float:
    slower = 2.9 if cell.group.model == "70b-awq" else 1.0
    return (engine.step_s + engine.further_s * cell.load.users) * slower


def _exchanges(cell: Cell, engine: Engine, rng: np.random.Generator, length_s: float) -> Iterator[Exchange]:
    users, step_s = cell.load.users, _step_s(cell, engine)
    slow = 12.0 if engine.name == "tensorrt-llm" and users > 64 else 1.0
    ttft_s = engine.ttft_s * (1 + users / 22) * (2.2 if cell.group.model == "70b-awq" else 1) * slow
    broken = engine.name == "vllm" and users == _middle(cell) and cell.group.model == "8b"
    end_s = length_s + 20
    for user in range(users):
        now_s, number = 20 * user / users, 0
        while now_s < end_s:
            first_s = now_s + ttft_s * rng.lognormal(0, 0.28)
            tokens = int(np.clip(rng.lognormal(np.log(engine.tokens), 0.55), 8, 512))
            gaps_s = step_s * rng.gamma(20, 1 / 20, tokens)
            times_s = first_s + np.cumsum(gaps_s) - gaps_s[0]
            failing = broken and rng.random() < 0.02
            yield _exchange(f"u{user}-{number}", user, now_s, times_s, end_s, rng, failing=failing)
            now_s, number = float(times_s[-1]) + 0.01, number + 1


def _exchange(
    name: str,
    user: int,
    send_s: float,
    times_s: Any,
    end_s: float,
    rng: np.random.Generator,
    *,
    failing: bool,
) -> Exchange:
    shown = (START_NS + times_s[times_s < end_s] * 1e9).astype(np.int64)
    shown = shown[: len(shown) // 2] if failing else shown
    whole = len(shown) == len(times_s)
    ended_s = float(times_s[-1]) if whole else end_s
    if failing:
        ended_s = min(ended_s, float(times_s[len(times_s) // 2]))
    first = int(shown[0]) if len(shown) else 0
    return Exchange(
        id=name,
        user=user,
        prompt=int(rng.integers(1000)),
        send_ns=START_NS + round(send_s * 1e9),
        end_ns=START_NS + round(ended_s * 1e9),
        outcome=Outcome.DISCONNECT if failing else (Outcome.OK if whole else Outcome.CUT),
        headers_ns=first,
        first_event_ns=first,
        first_token_ns=first,
        first_visible_ns=first,
        event_ns=shown,
        event_tokens=np.ones(len(shown), np.int32),
        status=200,
        finish_reason=("length" if len(times_s) == 512 else "stop") if whole and not failing else "",
        prompt_tokens=int(rng.integers(40, 160)),
        completion_tokens=len(shown) if whole and not failing else None,
        counted_by=CountedBy.USAGE,
        reads=len(shown) + 1,
        stamped=len(shown) + 1,
        event_lag_ns=(rng.gamma(2, 40e3, len(shown))).astype(np.int64),
    )


def _samples(cell: Cell, engine: Engine, rng: np.random.Generator, length_s: float) -> Iterator[Sample]:
    users, total_s = cell.load.users, int(length_s) + 20
    busy = min(99.0, (62 if engine.name in ("vllm", "tgi") else 84) + users * 0.16)
    hot = (
        engine.name == "tensorrt-llm"
        and cell.group.model == "70b-awq"
        and users == max(cell.group.workload.users)
    )
    cpu_s = client_s = 0.0
    for second in range(total_s + 1):
        now = START_NS + round(second * 1e9)
        reached = min(1.0, second / 20)
        throttled = float(hot and 0.4 < second / total_s < 0.5)
        cpu_s += (1.05 + 0.9 * users / 100) * reached * rng.normal(1, 0.02)
        client_s += 0.18 * users / 100 * reached
        share = np.clip(busy * reached + rng.normal(0, 1.6), 0, 100)
        gpu = {
            "utilisation_percent": float(share),
            "power_w": float(90 + 2.9 * share + rng.normal(0, 5)),
            "sm_clock_mhz": 1410.0 - 330 * throttled,
            "throttle_mask": 64 * throttled,
            "throttle_hw_thermal": throttled,
            "throttle_gpu_idle": 0.0,
        }
        yield Sample(now, "gpu", {f"gpu0.{name}": value for name, value in gpu.items()})
        yield Sample(now, "engine", {"engine.cpu_s": cpu_s, "engine.memory_bytes": 21.0e9})
        yield Sample(now, "client", {"client.cpu_s": client_s})
        queue = max(0.0, users - 64) if engine.name == "tensorrt-llm" else 0.0
        metrics = {
            "running": (users - queue) * reached,
            "waiting": queue * reached,
            "kv_use": min(0.97, 0.0065 * users * reached + 0.02),
        }
        yield Sample(now, "metrics", {f"metrics.{name}": value for name, value in metrics.items()})


def _result(
    cell: Cell, engine: Engine, exchanges: list[Exchange], samples: list[Sample], length_s: float
) -> Result:
    end_ns = START_NS + round((length_s + 20) * 1e9)
    span = Span(start_ns=START_NS, steady_ns=START_NS + 20 * 10**9, end_ns=end_ns)
    users = cell.load.users
    late = [0.03] * 40 if engine.name == "mlc-llm" and users == _middle(cell) else [0.0002] * 40
    asked, client = Asked(users=users), ClientSide(cpu_s=users * 0.4, late_s=late)
    metrics = summarise(exchanges, span, window_s=5, asked=asked, client=client)
    begin_ns = START_NS + round(metrics.steady_start_s * 1e9)
    machine = summary(samples, begin_ns, begin_ns + round(metrics.steady_length_s * 1e9))
    seen = Evidence(throttled_share=throttled(machine)[0], natural_ends=True, foreign_processes=0)
    cold = engine.start_s * (2.4 if cell.group.model == "70b-awq" else 1)
    return Result(
        cell=cell,
        started_at="2024-06-05T12:00:00Z",
        span=span,
        metrics=metrics,
        evidence=seen,
        verdict=judge(metrics, users=users, evidence=seen),
        telemetry=machine,
        provenance=_provenance(cell.group),
        steps=(
            StepRecord(
                id="weights", key="a", cached=True, wall_s=312.0, output_bytes=WEIGHTS[cell.group.model]
            ),
        ),
        phases_s={
            Phase.IMAGE: 12.0,
            Phase.WEIGHTS: 31.0,
            Phase.STEPS: cold if engine.start_s > 100 else 0.0,
            Phase.UP: 1.4,
            Phase.READY: min(cold, 95.0),
            Phase.WARMUP: 4.2,
            Phase.MEASURE: length_s + 20,
        },
    )


def _failed(cell: Cell) -> Result:
    failure = Failure(
        phase=Phase.READY,
        cause=FailureCause.MEMORY_KV_CACHE,
        message=f"{MADE_UP}: the engine died with exit code 1 {HOSTILE}",
        hint="lower the share of memory",
        log_tail=f"INFO loading\n</pre>{HOSTILE}\nValueError: no memory for the cache blocks",
    )
    return Result(
        cell=cell, started_at="2024-06-05T12:00:00Z", failure=failure, provenance=_provenance(cell.group)
    )


def _provenance(group: CellGroup) -> Provenance:
    host = Host(
        os=MADE_UP, kernel="0.0", machine="x86_64", cpu="made-up CPU", cpus=32, memory_bytes=2**38, python="3.11.7",
        gpus=(GPU,),
    )  # fmt: skip
    return Provenance(
        levelbench="0.1.0",
        git_revision="made-up",
        git_dirty=False,
        host=host,
        runtime=RuntimeKind.DOCKER,
        runtime_version="26.1.3",
        engine_version=group.version,
        image=Image(
            reference=f"made-up/{group.backend}", digest="sha256:" + "0" * 64, size_bytes=14_000_000_000
        ),
        argv=("serve", "--model", f"/models/{group.model}"),
        env={"HF_HUB_OFFLINE": "1"},
        weights_digest="sha256:" + "1" * 64,
        prompts_name="dolly",
        prompts_digest="sha256:" + "2" * 64,
        packages={"numpy": "2.4.6"},
        effective={
            "kv_tokens": str(40_000 + 4_000 * len(group.backend)),
            "dtype": "float16",
            "max_seqs": "256",
        },
        deviations=(
            Deviation(
                setting="--max-num-seqs",
                value="256",
                reason=f"{MADE_UP}: as the article's service had it",
                source=Source(text="service.py:41", verified=True),
            ),
        ),
    )


if __name__ == "__main__":
    print(write(Path(sys.argv[1])).path)  # noqa: T201
