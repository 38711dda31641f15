"""What each engine ran with, side by side: sampling, what was not sent to it, settings read back. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.domain.cell import CellGroup
from orchestrator.domain.result import Result
from orchestrator.report import units
from orchestrator.report.groups import Field
from orchestrator.report.headline import Names
from orchestrator.report.html.values import Table


def sampling(field: Field) -> str:
    """What every request of the field asked for."""
    workload = next((s.cell.group.workload for s in field.cells if s.cell), None)
    if workload is None:
        return ""
    s = workload.sampling
    parts = [
        f"temperature {s.temperature:g}",
        f"top_p {s.top_p:g}",
        f"{'exactly' if s.ignore_eos else 'at most'} {s.max_tokens:,} tokens",
        f"seed {'none' if s.seed is None else s.seed}",
    ]
    return f"Asked of every engine: {', '.join(parts)}."


def refused(plan: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """By group id, the fields of a request that a release does not take, out of a run's plan."""
    found = {}
    for entry in plan.get("groups") or ():
        group, request = entry.get("group"), entry.get("request")
        if isinstance(group, dict) and isinstance(request, dict):
            found[CellGroup.model_validate(group).id] = tuple(request.get("refused") or ())
    return found


def table(results: Sequence[Result], names: Names, refusing: Mapping[str, tuple[str, ...]]) -> Table:
    """A row per setting, a column per deployment; rows in which they differ are told apart."""
    of = {r.cell.group: _settings(r, refusing) for r in results if r.provenance is not None}
    keys = dict.fromkeys(key for settings in of.values() for key in settings)
    rows = [[key, *(settings.get(key, units.NOTHING) for settings in of.values())] for key in keys]
    differing = frozenset(i for i, (_, *values) in enumerate(rows) if len(set(values)) > 1)
    return Table(["setting", *(names[group] for group in of)], rows, texts=len(of) + 1, differing=differing)


def _settings(r: Result, refusing: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    group, p = r.cell.group, r.provenance
    unsent = refusing.get(group.id)
    return {
        "profile": group.profile.value if group.profile else units.NOTHING,
        "prefix caching": group.prefix_caching.value,
        "wire shape": group.dialect.value,
        "asked but not sent (refused by the release)": units.NOTHING
        if unsent is None
        else ", ".join(unsent) or "nothing",
        **({"options of the user": " ".join(group.extra_args)} if group.extra_args else {}),
        **({f"{key} (read back)": value for key, value in sorted(p.effective.items())} if p else {}),
    }
