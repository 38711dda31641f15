"""Results whose figures are stated, not measured: what comparisons and claims are tested with."""

from __future__ import annotations

from typing import Any

from backends.contract import Accelerator, Profile
from orchestrator.catalog import loader
from orchestrator.domain.article import LiteralSample
from orchestrator.domain.cell import Cell, Load
from orchestrator.domain.court import Measured
from orchestrator.domain.distribution import Distribution
from orchestrator.domain.intervals import Bounds
from orchestrator.domain.metrics import Metrics, TtftBounds
from orchestrator.domain.provenance import Gpu
from orchestrator.domain.reasons import Level
from orchestrator.domain.result import Result, TelemetrySummary
from orchestrator.domain.verdict import Verdict
from orchestrator.domain.workload import SystemPrompt
from tests.report import made

A100 = Gpu(uuid="GPU-a", name="NVIDIA A100-SXM4-80GB", memory_bytes=80 * 2**30, driver="550.54")
H100 = Gpu(uuid="GPU-h", name="NVIDIA H100 80GB HBM3", memory_bytes=80 * 2**30, driver="570.1")
BLOCKS = 20.0
_TEMPLATE = made.result(made.cell(users=1), made.load(1, ttft_s=0.1, gap_s=0.02, tokens=30))


def bounds(value: float, share: float | None) -> Bounds | None:
    """An interval of that share to both sides, or none."""
    return None if share is None else Bounds(low=value / (1 + share), high=value * (1 + share), blocks=BLOCKS)


def metrics(rate: float, ttft_s: float, share: float | None = 0.01) -> Metrics:
    assert _TEMPLATE.metrics is not None
    sample = Distribution(n=1000, mean=ttft_s, p50=ttft_s, p95=ttft_s * 2, p99=ttft_s * 3, max=ttft_s * 4)
    return _TEMPLATE.metrics.model_copy(
        update={
            "tokens_per_s": rate,
            "tokens_per_s_bounds": bounds(rate, share),
            "ttft_s": sample,
            "ttft_s_bounds": TtftBounds(
                mean=bounds(ttft_s, share),
                p50=bounds(ttft_s, share),
                p95=bounds(ttft_s * 2, share),
                p99=bounds(ttft_s * 3, share),
            ),
        }
    )


def result(
    rate: float = 1000.0,
    ttft_s: float = 0.1,
    *,
    share: float | None = 0.01,
    backend: str = "llama-cpp",
    users: int = 1,
    system: SystemPrompt = SystemPrompt.WITHOUT,
    level: Level = Level.VALID,
    **group: Any,
) -> Result:
    """A cell of the CPU engine's workload with those figures."""
    of = made.group(backend, **group)
    return _TEMPLATE.model_copy(
        update={
            "cell": Cell(group=of, load=Load(users=users, system_prompt=system)),
            "metrics": metrics(rate, ttft_s, share),
            "verdict": Verdict(level=level),
            "article": None,
            "provenance": made.provenance(of),
        }
    )


def article(  # noqa: PLR0913 - one for each thing that a claim may turn on
    address: str,
    rate: float = 1000.0,
    ttft_s: float = 0.1,
    *,
    share: float | None = 0.01,
    gpu: Gpu = A100,
    busy: float | None = None,
    literal: float | None = None,
    run: str = "run-1",
    **group: Any,
) -> Measured:
    """A cell as the article measured it: `8b/lmdeploy/u100`. `literal` is what its client would have printed."""
    model, backend, users = address.split("/")
    one = result(
        rate,
        ttft_s,
        share=share,
        backend=backend,
        users=int(users.removeprefix("u").removesuffix("-sys")),
        system=SystemPrompt.WITH if users.endswith("-sys") else SystemPrompt.WITHOUT,
        **{
            "model": model,
            "release": "2024-06",
            "profile": Profile.PUBLISHED,
            "accelerator": Accelerator.CUDA,
            "workload": loader.workload("article"),
            **group,
        },
    )
    assert one.provenance is not None
    assert _TEMPLATE.article is not None
    host = one.provenance.host.model_copy(update={"gpus": (gpu,)})
    changes: dict[str, Any] = {"provenance": one.provenance.model_copy(update={"host": host})}
    if busy is not None:
        changes["telemetry"] = TelemetrySummary(mean={"gpu0.utilisation_percent": busy * 100})
    if literal is not None:
        sample = LiteralSample(n=1000, mean=ttft_s, median=ttft_s)
        changes["article"] = _TEMPLATE.article.model_copy(update={"tokens_per_s": literal, "ttft_s": sample})
    return Measured(run, one.model_copy(update=changes))
