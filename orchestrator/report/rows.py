"""results.csv: one row per cell, in SI units, for other programs. Columns: docs/results.md."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from enum import Enum

from orchestrator.domain.distribution import PERCENTILES, Distribution
from orchestrator.domain.intervals import Bounds
from orchestrator.domain.metrics import Metrics
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
    "serving": lambda r: str(r.cell.group.serving) if r.cell.group.serving else None,
    "model": lambda r: r.cell.group.model,
    "profile": lambda r: _word(r.cell.group.profile),
    "workload": lambda r: r.cell.group.workload.id,
    "users": lambda r: r.cell.load.users if r.cell.load.arrivals is None else None,
    "arrivals": lambda r: _word(r.cell.load.arrivals),
    "rate_per_s": lambda r: r.cell.load.rate_per_s,
    "system_prompt": lambda r: r.cell.load.system_prompt.value,
    "method": lambda r: r.method,
    "started_at": lambda r: r.started_at,
    "verdict": lambda r: r.verdict.level.value if r.verdict else None,
    "reasons": lambda r: " ".join(f.reason.value for f in r.verdict.findings) if r.verdict else None,
    "not_checked": lambda r: (
        " ".join(reason.value for reason in r.verdict.not_checked) if r.verdict else None
    ),
    "failure": lambda r: r.failure.cause.value if r.failure else None,
    "waived": lambda r: r.failure.waived.reason if r.failure and r.failure.waived else None,
    "failed_in": lambda r: r.failure.phase.value if r.failure else None,
    "cpu_cores_mean": lambda r: r.telemetry.mean.get(CPU_CORES),
    "memory_max_bytes": lambda r: r.telemetry.max.get(MEMORY),
    "gpu_busy_share": gpu_busy_share,
    "gpu_power_w": gpu_power_w,
    "article_tokens_per_s": lambda r: r.article.tokens_per_s if r.article else None,
    "article_ttft_mean_s": lambda r: r.article.ttft_s.mean if r.article else None,
}

_WORDS: dict[str, Callable[[Metrics], Field]] = {
    "errors": lambda m: sum(m.errors.values()),
    "steady_rule": lambda m: m.steady_rule.value,
    "stationarity": lambda m: m.stationarity.text,
    "tokens_from": lambda m: " ".join(f"{source}:{n}" for source, n in m.tokens_from.items()),
}

_SINGLE = (
    "steady_start_s",
    "steady_length_s",
    "drain_length_s",
    "completed",
    "cut",
    "unanswered",
    "error_share",
    "sent_per_s",
    "requests_per_s",
    "goodput_per_s",
    "tokens_per_s",
    "prompt_tokens_per_s",
    "all_tokens_per_s",
    "all_ttft_mean_s",
    "tokens_per_event",
    "bundled_share",
    "active_users_mean",
    "present_users_mean",
    "users_gone",
    "client_cpu_share",
)
_SAMPLES = (
    "ttft_s",
    "ttft_sent_s",
    "itl_s",
    "event_gap_s",
    "tpot_s",
    "latency_s",
    "latency_sent_s",
    "normalized_latency_s",
    "send_delay_s",
    "prompt_tokens",
    "output_tokens",
)
_BOUNDS: dict[str, Callable[[Metrics], Bounds | None]] = {
    "tokens_per_s": lambda m: m.tokens_per_s_bounds,
    "ttft_s_mean": lambda m: m.ttft_s_bounds.mean,
    "ttft_s_p50": lambda m: m.ttft_s_bounds.p50,
    "ttft_s_p95": lambda m: m.ttft_s_bounds.p95,
    "ttft_s_p99": lambda m: m.ttft_s_bounds.p99,
}
_ENDS = ("low", "high")
_PARTS = tuple(Distribution.model_fields)

COLUMNS = (
    "cell",
    "state",
    *_CELL,
    *_WORDS,
    *_SINGLE,
    *(f"{name}_{end}" for name in _BOUNDS for end in _ENDS),
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
    bounds = {f"{name}_{end}": getattr(of(m), end, None) for name, of in _BOUNDS.items() for end in _ENDS}
    samples = {f"{s}_{part}": _part(getattr(m, s), part) for s in _SAMPLES for part in _PARTS}
    words = {name: of(m) for name, of in _WORDS.items()}
    return words | {name: getattr(m, name) for name in _SINGLE} | bounds | samples


def _part(sample: Distribution, part: str) -> Field:
    """A percentile with failures is infinite where they reach down to it, not unknown."""
    by_name = {f"p{q}_with_failures": q for q in PERCENTILES}
    if part in by_name:
        return sample.with_failures(by_name[part])
    value: Field = getattr(sample, part)
    return value
