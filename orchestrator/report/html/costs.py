"""Energy, money and the memory's limit as a table and a chart's rows. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from backends.contract import Accelerator
from orchestrator.domain.result import Result
from orchestrator.report import units
from orchestrator.report.cost import Price, cost, gpu_indices
from orchestrator.report.figures import MARKS, gpu_power_w, level, marked
from orchestrator.report.groups import load_size
from orchestrator.report.headline import Names
from orchestrator.report.html.charts import Row
from orchestrator.report.html.values import Table


@dataclass(frozen=True, slots=True)
class Costs:
    """A table, empty where no GPU was seen; why cells lack a figure; why there is no table."""

    table: Table
    unknown: tuple[str, ...]
    silent: tuple[str, ...]


def table(
    measured: Sequence[Result],
    measure: str,
    names: Names,
    weights_bytes: Mapping[str, int],
    price: Price | None,
) -> Costs:
    """A row per cell on GPUs."""
    watched = sorted((r for r in measured if gpu_indices(r)), key=lambda r: r.cell.load.size)
    headings = [
        measure,
        "engine",
        "GPUs",
        "GPU power (W)",
        "energy (J per token)",
        *([f"cost (per million tokens, GPU-hour {price.text})"] if price else []),
        "decode steps/s",
        "of the memory's limit",
    ]
    rows, unknown = [], {}
    for r in watched:
        found = cost(r, weights_bytes, price)
        unknown.update(dict.fromkeys(found.unknown))
        figures = [
            units.number(gpu_power_w(r)),
            units.number(found.joules_per_token),
            *([units.number(found.price_per_million)] if price else []),
            units.number(found.steps_per_s),
            units.percent(found.bandwidth_share),
        ]
        head = [load_size(r.cell.load), names[r.cell.group], f"{len(gpu_indices(r))}"]
        rows.append([*head, *(marked(text, level(r)) for text in figures)])
    return Costs(Table(headings, rows, texts=2), tuple(unknown), _silent(measured, watched, price))


def energy_rows(measured: Sequence[Result], row: Callable[..., Row]) -> list[Row]:
    """Joules per token of every cell whose GPUs' power is known."""
    found = [(r, cost(r, {}, None).joules_per_token) for r in measured]
    return [
        row(r, f"{units.number(joules)}{MARKS[level(r)]} J per token", joules=joules)
        for r, joules in found
        if joules is not None
    ]


def on_cpu(measured: Sequence[Result]) -> bool:
    return all(r.cell.group.accelerator is Accelerator.CPU for r in measured)


def _silent(measured: Sequence[Result], watched: Sequence[Result], price: Price | None) -> tuple[str, ...]:
    if not watched:
        where = "the engines ran on the CPU" if on_cpu(measured) else "no GPU was seen by telemetry"
        return (f"No cost per token and no distance to the memory's limit: {where}.",) if measured else ()
    return () if price else ("No cost per million tokens: no price was given (--gpu-price).",)
