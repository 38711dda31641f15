"""What earlier runs took, from their plans and journals: what a plan's minutes are estimated from."""

from __future__ import annotations

from pathlib import Path

from orchestrator.domain.history import Took, took
from orchestrator.errors import BenchError
from orchestrator.store.runs import LATEST, RUN, RunFolder

NEWEST_RUNS = 30


def past(runs_dir: Path) -> tuple[Took, ...]:
    """Of the newest runs, newest first. A run that had no plan, or one that cannot be read, tells nothing."""
    names = sorted(
        (p.parent.name for p in runs_dir.glob(f"*/{RUN}") if p.parent.name != LATEST), reverse=True
    )
    return tuple(one for name in names[:NEWEST_RUNS] for one in _of(runs_dir / name))


def _of(path: Path) -> tuple[Took, ...]:
    try:
        folder = RunFolder.open(path)
        groups = [group.group for group in folder.plan().groups]
    except BenchError:
        return ()
    return took(groups, folder.read_journal().entries)
