"""A night on several hosts: the plan is made and kept here, each of its groups is a batch job."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from backends import load_backends
from backends.contract import Accelerator, HostTraits
from orchestrator import invocation, matrix, nights, retrospect
from orchestrator.console import Console
from orchestrator.domain.cell import AcceleratorChoice, RuntimeChoice, RuntimeKind
from orchestrator.domain.plan import GroupPlan, Plan
from orchestrator.errors import HostError, RequestError, unknown
from orchestrator.fleet import carrying, handing, publishing
from orchestrator.fleet.carrying import Paths
from orchestrator.fleet.drive import Errand, Fleet, Outcome, drive
from orchestrator.fleet.handing import Format
from orchestrator.fleet.jobs import JobSpec
from orchestrator.host import facts
from orchestrator.host.locks import lock_if_free
from orchestrator.invocation import Place
from orchestrator.matrix import Wish
from orchestrator.planning import Request
from orchestrator.store.runs import RunFolder

LOCK = "driver.lock"
BY_SLURM = "slurm"


@dataclass(frozen=True, slots=True)
class Hosts:
    """What a plan must know of hosts that are not this one. `pins` maps a model to the one host that takes all its
    groups; `gpu_memory_bytes` is what plans that divide a GPU's memory count with."""

    accelerator: Accelerator = Accelerator.CUDA
    gpu_memory_bytes: int | None = None
    pins: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Cluster:
    """Where groups go. `command` starts levelbench on a host; `login`, `results` and `push` are those of Paths."""

    fleet: Fleet
    hosts: Hosts = field(default_factory=Hosts)
    command: tuple[str, ...] = ("levelbench",)
    token_path: PurePosixPath | None = None
    login: str | None = None
    results: PurePosixPath | None = None
    push: str | None = None


def prepare(wish: Wish, hosts: Hosts) -> Plan:
    """The plan for hosts that are not this one: nothing of this machine goes into it. What `auto` leaves open is
    decided for a GPU host with Docker."""
    backends, host = load_backends(), facts.host()

    def accelerator(request: Request) -> Accelerator:
        asked = request.accelerator
        return hosts.accelerator if asked is AcceleratorChoice.AUTO else Accelerator(asked.value)

    def traits(request: Request, on: Accelerator) -> HostTraits:  # noqa: ARG001 - its GPUs are on another host
        if on is Accelerator.CPU:
            return facts.traits(on, host)
        return HostTraits(
            accelerator=on,
            cpus=host.cpus,
            memory_bytes=host.memory_bytes,
            gpu_memory_bytes=hosts.gpu_memory_bytes,
        )

    found = matrix.choices(wish, backends, accelerator, traits)
    process = wish.matrix.runtime is RuntimeChoice.PROCESS
    plan = matrix.plan(wish, found, backends, RuntimeKind.PROCESS if process else RuntimeKind.DOCKER)
    for model in hosts.pins:
        if model not in {group.model.id for group in plan.groups}:
            raise unknown("model to pin", model, {group.model.id for group in plan.groups})
    return plan


def run(place: Place, wish: Wish, cluster: Cluster, console: Console, *, new: bool) -> tuple[RunFolder, bool]:
    """The night of a matrix, on the cluster; one that was cut short is gone on with. Gives the run's folder and whether
    every cell is sound."""
    folder = None if new else nights.unfinished(place.runs_dir, wish)
    if folder is None:
        folder = begin(place, prepare(wish, cluster.hosts), BY_SLURM)
    else:
        nights.require_handed(folder, BY_SLURM)
        console.say(f"going on with {folder.id}, which was cut short", "bold")
        folder.journal("run-resumed")
    folder, complete = go_on(folder, cluster, console)
    retrospect.tell(folder, place.told, console.say)
    return folder, complete


def hand_out(place: Place, wish: Wish, hosts: Hosts, format_: Format) -> str:
    """Begin a run for a scheduler that is not ours to drive; its groups, as text."""
    plan = prepare(wish, hosts)
    return handing.text(plan, format_, run=begin(place, plan, format_.value).id, pins=hosts.pins)


def begin(place: Place, plan: Plan, by: str) -> RunFolder:
    """A run whose groups are handed out, and which says so: it is never gone on with here."""
    folder = invocation.new_run(place, plan)
    folder.journal("run-began", groups=[g.group.id for g in plan.groups], by=by)
    return folder


def gather(place: Place, name: str, console: Console) -> tuple[RunFolder, bool]:
    """What the jobs of somebody else's scheduler published becomes one run, as far as it is there. Gives the folder and
    whether every group is, with figures for all its cells."""
    folder = RunFolder.find(place.runs_dir, name)
    with lock_if_free(folder.path / LOCK, "levelbench collect") as free:
        if not free:
            raise HostError(f"a driver hands out {folder.id}", hint="it collects by itself")
        _collected(folder, console.say)()
        done = publishing.published(folder.path)
        missing = [g.group.id for g in folder.plan().groups if g.group.id not in done]
        folder.write_reports()
        complete = not missing and all(each.exit_code == 0 for each in done.values())
        if missing:
            console.say(f"no result yet of {', '.join(missing)}: run these jobs again, then this", "yellow")
        else:
            folder.journal("run-ended", complete=complete)
    retrospect.tell(folder, place.told, console.say)
    return folder, complete


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
    paths = Paths(folder.path, cluster.login, cluster.results, cluster.push)
    paths.send()
    errand = Errand(
        run=folder.id,
        folder=folder.path,
        specs={group.group.id: spec(folder, group, cluster, paths) for group in plan.groups},
        journal=folder.journal,
        journalled=lambda: folder.read_journal().entries,
        say=console.say,
        bring=lambda: paths.bring(_known(folder)),
        collect=_collected(folder, console.say),
    )
    outcome = drive(errand, cluster.fleet)
    try:
        paths.bring_all()
    except HostError as error:
        console.say(f"what lost attempts left stays on {cluster.login}: {error}", "yellow")
    return outcome


def spec(folder: RunFolder, group: GroupPlan, cluster: Cluster, paths: Paths) -> JobSpec:
    """The job of a group: `run-group` on the whole host."""
    name = group.group.id
    return JobSpec(
        run=folder.id,
        group=name,
        command=(*cluster.command, "run-group", *paths.words(name)),
        minutes=handing.limit_minutes(group),
        log_path=paths.log_path(name),
        host=cluster.hosts.pins.get(group.model.id),
        token_path=cluster.token_path,
        folder=paths.on_host(name) if cluster.push else None,
        plan=carrying.carried(folder, group) if cluster.push else "",
    )


def _known(folder: RunFolder) -> frozenset[str]:
    """Groups whose results are in the run already."""
    return frozenset(
        str(e["group"]) for e in folder.read_journal().entries if e.get("event") == "group-collected"
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
