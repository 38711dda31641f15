"""Runs of a folder as history and as summaries: what the command, and the end of a run, both ask for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator import notify
from orchestrator.domain.entry import Entry
from orchestrator.domain.judged import Judged, series
from orchestrator.domain.judged import judged as judge
from orchestrator.domain.plan import GroupPlan
from orchestrator.domain.reruns import Rerun, pinned
from orchestrator.errors import BenchError, HostError, RequestError
from orchestrator.notify import Told
from orchestrator.report.summary import Summary, summarise
from orchestrator.runtime.interface import Runtime
from orchestrator.store.index import Fault, Index
from orchestrator.store.runs import RunFolder


@dataclass(frozen=True, slots=True)
class Retrospect:
    """Every series of a folder of runs as it stands, and what could not be read."""

    judged: tuple[Judged, ...]
    faults: tuple[Fault, ...]


def look_back(runs_dir: Path, progress: Callable[[str], None] = lambda _: None) -> Retrospect:
    """With the index brought up to date first."""
    index = Index(runs_dir)
    index.refresh(progress)
    return Retrospect(tuple(map(judge, series(index.entries()))), index.faults())


def tonight(folder: RunFolder) -> tuple[Judged, ...]:
    """Every series whose newest run is this one."""
    judged = look_back(folder.path.parent).judged
    return tuple(one for one in judged if one.newest.run == folder.id)


def entries(folder: RunFolder) -> dict[str, Entry]:
    """What the cells of a run came to, by their ids."""
    index = Index(folder.path.parent)
    index.refresh()
    return {entry.cell: entry for entry in index.entries() if entry.run == folder.id}


def again(runs_dir: Path, reruns: Sequence[Rerun]) -> GroupPlan:
    """The plan of the re-runs of one deployment, from the folder of the run that they repeat. RequestError where that
    has no such plan."""
    first = reruns[0]
    groups = RunFolder.find(runs_dir, first.run).plan().groups
    plan = next((group for group in groups if group.group.id == first.group), None)
    if plan is None:
        raise RequestError(f"{first.run} has no group {first.group}", hint="measure anew")
    return pinned(plan, reruns)


def image_here(runs_dir: Path, runtime: Runtime, rerun: Rerun) -> bool:
    """Whether the image that a re-run is pinned to can still be run."""
    try:
        runtime.image(again(runs_dir, [rerun]).image, lambda _: None)
    except BenchError:
        return False
    return True


def summary(
    folder: RunFolder,
    *,
    say: Callable[[str], None] = lambda _: None,
) -> Summary:
    """One run, held against the others of its folder. An index that cannot be used costs the history alone."""
    try:
        judged = look_back(folder.path.parent).judged
    except HostError as error:
        say(f"no history: {error}")
        judged = ()
    record = folder.record()
    return summarise(
        record, waived=record.waived, left_out=record.left_out, judged=judged, folder=str(folder.path)
    )


def tell(
    folder: RunFolder,
    to: Told,
    say: Callable[[str], None],
) -> None:
    """Everybody who wants to know of a run. What goes wrong in it is said, and changes nothing of the run."""
    if to.webhook is None and to.step_summary is None:
        return
    try:
        notify.tell(summary(folder, say=say), to, say)
    except BenchError as error:
        say(f"nobody was told: {error}")
