"""A night on several hosts: the plan is made and kept here, each of its groups is a batch job."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from backends import load_backends
from backends.contract import Accelerator, HostTraits
from orchestrator import invocation, matrix, nights
from orchestrator.console import Console
from orchestrator.domain.cell import AcceleratorChoice, RuntimeChoice, RuntimeKind
from orchestrator.domain.plan import GroupPlan, Plan
from orchestrator.errors import HostError, RequestError, unknown
from orchestrator.fleet import publishing
from orchestrator.fleet.drive import Errand, Fleet, Outcome, drive
from orchestrator.fleet.jobs import JobSpec
from orchestrator.host import facts
from orchestrator.host.locks import lock_if_free
from orchestrator.invocation import Place
from orchestrator.matrix import Wish
from orchestrator.planning import Request
from orchestrator.store.runs import RunFolder

LOCK = "driver.lock"
SPARE = 2.0  # a job may take twice what the plan estimates, and an hour more
SPARE_MIN = 60


@dataclass(frozen=True, slots=True)
class Cluster:
    """Where groups go. `command` starts levelbench on a host; `pins` maps a model to the one host that takes all its groups; `gpu_memory_bytes` is what plans that
    divide a GPU's memory count with."""

    fleet: Fleet
    command: tuple[str, ...] = ("levelbench",)
    options: tuple[str, ...] = ()
    pins: Mapping[str, str] = field(default_factory=dict)
    token_path: PurePosixPath | None = None
    gpu_memory_bytes: int | None = None
    accelerator: Accelerator = Accelerator.CUDA


def prepare(wish: Wish, cluster: Cluster) -> Plan:
    """The plan for hosts that are not this one: nothing of this machine goes into it. What `auto` leaves open is
    decided for a GPU host with Docker."""
    backends, host = load_backends(), facts.host()

    def accelerator(request: Request) -> Accelerator:
        asked = request.accelerator
        return cluster.accelerator if asked is AcceleratorChoice.AUTO else Accelerator(asked.value)

    def traits(request: Request, on: Accelerator) -> HostTraits:  # noqa: ARG001 - its GPUs are on another host
        if on is Accelerator.CPU:
            return facts.traits(on, host)
        return HostTraits(
            accelerator=on,
            cpus=host.cpus,
            memory_bytes=host.memory_bytes,
            gpu_memory_bytes=cluster.gpu_memory_bytes,
        )

    found = matrix.choices(wish, backends, accelerator, traits)
    process = wish.matrix.runtime is RuntimeChoice.PROCESS
    plan = matrix.plan(wish, found, backends, RuntimeKind.PROCESS if process else RuntimeKind.DOCKER)
    for model in cluster.pins:
        if model not in {group.model.id for group in plan.groups}:
            raise unknown("model to pin", model, {group.model.id for group in plan.groups})
    return plan


def run(place: Place, wish: Wish, cluster: Cluster, console: Console, *, new: bool) -> tuple[RunFolder, bool]:
    """The night of a matrix, on the cluster; one that was cut short is gone on with. Gives the run's folder, which
    must be seen by all hosts, and whether every cell is sound."""
    folder = None if new else nights.unfinished(place.runs_dir, wish)
    if folder is None:
        folder = invocation.new_run(place, prepare(wish, cluster))
        folder.journal("run-began", groups=[g.group.id for g in folder.plan().groups])
    else:
        console.say(f"going on with {folder.id}, which was cut short", "bold")
        folder.journal("run-resumed")
    return go_on(folder, cluster, console)


def go_on(folder: RunFolder, cluster: Cluster, console: Console) -> tuple[RunFolder, bool]:
    """Drive a run that was begun, until each of its groups is published or given up."""
    plan = folder.plan()
    with lock_if_free(folder.path / LOCK, "levelbench matrix --fleet") as free:
        if not free:
            raise HostError(
                f"another driver hands out {folder.id}", hint="one is enough: it goes on by itself"
            )
        console.say(f"run {folder.id}: {len(plan.groups)} groups, results in {folder.path}")
        outcome = _driven(folder, plan, cluster, console)
    folder.write_reports()
    complete = not outcome.given_up and all(done.exit_code == 0 for done in outcome.published.values())
    folder.journal("run-ended", complete=complete, given_up=dict(outcome.given_up))
    return folder, complete


def _driven(folder: RunFolder, plan: Plan, cluster: Cluster, console: Console) -> Outcome:
    errand = Errand(
        run=folder.id,
        folder=folder.path,
        specs={group.group.id: spec(folder, group, cluster) for group in plan.groups},
        journal=folder.journal,
        journalled=lambda: folder.read_journal().entries,
        say=console.say,
        collect=_collected(folder, console.say),
    )
    return drive(errand, cluster.fleet)


def spec(folder: RunFolder, group: GroupPlan, cluster: Cluster) -> JobSpec:
    """The job of a group: `run-group` on the whole host, with time to spare over the estimate."""
    logs = folder.path / "jobs"
    logs.mkdir(exist_ok=True)
    minutes = (group.measure_s + group.prepare_s) / 60
    return JobSpec(
        run=folder.id,
        group=group.group.id,
        command=(*cluster.command, *cluster.options, "run-group", str(folder.path), group.group.id),
        minutes=round(minutes * SPARE) + SPARE_MIN,
        log_path=PurePosixPath(logs / f"{group.group.id}.log"),
        host=cluster.pins.get(group.model.id),
        token_path=cluster.token_path,
    )


def _collected(folder: RunFolder, say: Callable[[str], None]) -> Callable[[], None]:
    def collect() -> None:
        for done in publishing.collect(folder):
            end = "every cell has figures" if done.exit_code == 0 else "a cell failed"
            say(f"{done.attempt.group}: done on {done.attempt.host}, {end}")

    return collect


def pins(texts: tuple[str, ...]) -> dict[str, str]:
    """`MODEL=HOST` words. RequestError for one that is none."""
    pairs = [text.partition("=") for text in texts]
    wrong = [text for text, (model, _, host) in zip(texts, pairs, strict=True) if not model or not host]
    if wrong:
        raise RequestError(f"{wrong[0]!r} pins nothing", hint="--pin MODEL=HOST, for example 8b=gpu1")
    return {model: host for model, _, host in pairs}
