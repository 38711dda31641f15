"""One group on the host that a batch system chose, beside its engine: the very way a single box takes, in a folder
of the attempt's own, published at its end."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from shutil import rmtree

from orchestrator import bench, invocation, nights
from orchestrator.console import Console
from orchestrator.domain.result import Placed
from orchestrator.errors import HostError, RequestError, unknown
from orchestrator.fleet import publishing
from orchestrator.fleet.carrying import Pushed
from orchestrator.fleet.publishing import Attempt, Published
from orchestrator.fleet.slurm import Slurm, SlurmSettings
from orchestrator.invocation import Place, Prepared
from orchestrator.store.runs import RunFolder, utc_now

ATTEMPT = "LEVELBENCH_ATTEMPT"
SLURM_JOB = "SLURM_JOB_ID"
SLURM_HOST = "SLURMD_NODENAME"


def attempt(environment: Mapping[str, str], group: str) -> Attempt | None:
    """The attempt that a batch script says we are; None where nobody does."""
    number = environment.get(ATTEMPT)
    if number is None:
        return None
    if not number or not set(number) <= set(
        "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ._-"
    ):
        raise RequestError(f"{ATTEMPT}={number!r} is no name", hint="letters, digits, dots, dashes")
    host = environment.get(SLURM_HOST) or platform.node()
    return Attempt(group=group, id=number, host=host, began_at=utc_now())


def work(
    place: Place, run_path: Path, mine: Attempt, console: Console, to: Pushed | None = None
) -> tuple[RunFolder, bool]:
    """Run one group and publish it, whatever its cells came to: where the run is, or by ssh where it is kept. HostError
    and an interrupt publish nothing: then the host is at fault, or a person, and the group has not had its turn."""
    stored = RunFolder.open(run_path)
    plan = stored.plan()
    groups = {group.group.id: group for group in plan.groups}
    if mine.group not in groups:
        raise unknown("group", mine.group, groups)
    require_alone(os.environ)
    one = plan.model_copy(update={"groups": (groups[mine.group],)})
    path = publishing.begin(run_path, mine)
    if to is not None:
        to.begin(run_path, path)
    folder = RunFolder.create_at(path, one.model_dump(mode="json"), cells=one.groups[0].group.cells)

    def prepared() -> Prepared:
        placed = Placed(host=mine.host, attempt=mine.id)
        return replace(nights.again(place, folder, one), event="group-taken", placed=placed)

    doing = f"run-group {mine.group}"
    folder, complete = invocation.carry_out(place, prepared, console, doing=doing, work=bench.run_alone)
    done = Published(attempt=mine, exit_code=0 if complete else 4, ended_at=utc_now())
    first = _published(run_path, path, done, to)
    if first is not None:
        console.say(
            f"{first.host} was first ({first.id}): this attempt is kept, and counts for nothing", "yellow"
        )
    return folder, complete


def _published(run_path: Path, path: Path, done: Published, to: Pushed | None) -> Attempt | None:
    """Publish it; if another attempt was first, which."""
    group = done.attempt.group
    if to is not None:
        first = None if to.publish(run_path, path, done) else to.winner(group)
        rmtree(path)  # it is there now, whole, whoever was first
        return first
    return None if publishing.publish(run_path, done) else publishing.published(run_path)[group].attempt


def require_alone(environment: Mapping[str, str]) -> None:
    """HostError if the batch system gave this host to somebody else too. A partition with OverSubscribe=FORCE
    ignores --exclusive, in silence."""
    number, host = environment.get(SLURM_JOB), environment.get(SLURM_HOST)
    if not number or not host:
        return
    others = Slurm(SlurmSettings()).neighbours(host, number)
    if others:
        raise HostError(
            f"Slurm runs other jobs on {host}: {', '.join(others)}",
            hint="use a partition without OverSubscribe=FORCE: `scontrol show partition` tells",
        )
