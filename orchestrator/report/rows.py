"""results.csv: one row per cell, in SI units, for other programs. Columns: docs/results.md."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from enum import Enum

from orchestrator.domain.metrics import Distribution, Metrics
from orchestrator.domain.result import Result
from orchestrator.report.figures import CPU_CORES, MEMORY, gpu_busy_share, gpu_power_w
from orchestrator.report.records import Stored

Field = str | int | float | None

_CELL: dict[str, Callable[[Result], Field]] = {
    "backend": lambda r: r.cell.group.backend,
    "release": lambda r: r.cell.group.release,
    "version": lambda r: r.cell.group.version,
    "accelerator": lambda r: _word(r.cell.group.accelerator),
    "runtime": lambda r: r.cell.group.runtime.value,
    "model": lambda r: r.cell.group.model,
    "profile": lambda r: _word(r.cell.group.profile),
    "workload": lambda r: r.cell.group.workload.id,
    "users": lambda r: r.cell.load.users,
    "system_prompt": lambda r: r.cell.load.system_prompt.value,
    "method": lambda r: r.method,
    "started_at": lambda r: r.started_at,
    "verdict": lambda r: r.verdict.level.value if r.verdict else None,
    "reasons": lambda r: " ".join(f.reason.value for f in r.verdict.findings) if r.verdict else None,
    "failure": lambda r: r.failure.cause.value if r.failure else None,
    "failed_in": lambda r: r.failure.phase.value if r.failure else None,
    "cpu_cores_mean": lambda r: r.telemetry.mean.get(CPU_CORES),
    "memory_max_bytes": lambda r: r.telemetry.max.get(MEMORY),
    "gpu_busy_share": gpu_busy_share,
    "gpu_power_w": gpu_power_w,
}

_SINGLE = (
    "steady_length_s",
    "completed",
    "cut",
    "unanswered",
    "error_share",
    "requests_per_s",
    "tokens_per_s",
    "all_tokens_per_s",
    "all_ttft_mean_s",
    "tokens_per_event",
    "active_users_mean",
    "client_cpu_share",
)
_SAMPLES = ("ttft_s", "itl_s", "tpot_s", "latency_s", "prompt_tokens", "output_tokens")
_PARTS = tuple(Distribution.model_fields)

COLUMNS = (
    "cell",
    "state",
    *_CELL,
    "errors",
    *_SINGLE,
    *(f"{sample}_{part}" for sample in _SAMPLES for part in _PARTS),
)


def csv_rows(cells: Sequence[Stored]) -> list[dict[str, Field]]:
    """One row per cell of the run. What does not exist is None, never 0."""
    return [_row(stored) for stored in cells]


def csv_text(cells: Sequence[Stored]) -> str:
    """The whole file, with its heading; an empty field is a figure that does not exist."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(csv_rows(cells))
    return text.getvalue()


def _word(value: Enum | None) -> str | None:
    return None if value is None else str(value.value)


def _row(stored: Stored) -> dict[str, Field]:
    row: dict[str, Field] = dict.fromkeys(COLUMNS)
    row |= {"cell": stored.cell_id, "state": stored.state.value}
    if stored.result is not None:
        row |= {name: of(stored.result) for name, of in _CELL.items()}
        row |= _figures(stored.result.metrics)
    return row


def _figures(m: Metrics | None) -> dict[str, Field]:
    if m is None:
        return {}
    samples = {f"{s}_{part}": getattr(getattr(m, s), part) for s in _SAMPLES for part in _PARTS}
    return {"errors": sum(m.errors.values())} | {name: getattr(m, name) for name in _SINGLE} | samples
