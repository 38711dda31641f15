"""Nights: a matrix becomes a run, a run that was cut short is gone on with, one group of a stored plan is run alone."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from backends import load_backends
from backends.contract import Accelerator, HostTraits
from orchestrator import bench, confirming, invocation, matrix, planning, steps
from orchestrator.console import Console
from orchestrator.domain import history
from orchestrator.domain.cell import RuntimeChoice, RuntimeKind
from orchestrator.domain.matrix import Notify, NotifyOn
from orchestrator.domain.plan import GroupPlan, Plan
from orchestrator.errors import RequestError, unknown
from orchestrator.host import facts, topology
from orchestrator.invocation import Place, Prepared
from orchestrator.matrix import Wish
from orchestrator.notify import WEBHOOK
from orchestrator.planning import Request
from orchestrator.runtime.choice import choose
from orchestrator.store.past import past
from orchestrator.store.runs import LATEST, RUN, RunFolder

SEEDS = 2**31
CI = ("github", "jsonl")  # schedulers that are handed groups, and not driven


def new_seed() -> int:
    """For a night whose order nobody has fixed; it is noted in the plan."""
    return secrets.randbelow(SEEDS)


def prepare(place: Place, wish: Wish, *, pull: bool) -> Prepared:
    """Look everything up and choose; starts nothing. Minutes are those of earlier runs, where there are any."""
    backends, host = load_backends(), facts.host()
    at_hand = {"artifacts": steps.at_hand(place.cache_dir)}

    def traits(request: Request, accelerator: Accelerator) -> HostTraits:
        seen = invocation.with_asked(request, accelerator, host)
        return topology.traits(accelerator, seen).model_copy(update=at_hand)

    found = matrix.choices(
        wish, backends, lambda request: planning.choose_accelerator(request, backends, host), traits
    )
    builds = matrix.builds(found)
    runtime, notes = choose(
        wish.matrix.runtime,
        place.daemon,
        builds,
        base=place.base,
        cache_dir=place.cache_dir,
        environment=place.environment,
        pull=pull,
    )
    if not host.gpus and any(build.accelerator is Accelerator.CUDA for build in builds):
        notes = (*notes, "no GPU was found here: this plan is for a GPU host")
    plan = matrix.plan(wish, found, backends, runtime.kind, notes)
    return Prepared(_estimated(place, plan), runtime, host, backends)


def run(place: Place, wish: Wish, console: Console, *, new: bool) -> tuple[RunFolder, bool]:
    """The night of a matrix. One of the same matrix that was cut short is gone on with, unless a new one is asked
    for. Gives the run's folder and whether every cell is sound."""
    place = telling(place, wish.matrix.notify, console)

    def prepared() -> Prepared:
        folder = None if new else unfinished(place.runs_dir, wish)
        if folder is None:
            return prepare(place, wish, pull=True)
        require_handed(folder, None)
        console.say(f"going on with {folder.id}, which was cut short (a new night: NEW=1, --new)", "bold")
        return again(place, folder, folder.plan())

    return invocation.carry_out(
        place, prepared, console, doing=f"matrix {wish.file.path.name}", work=confirming.run
    )


def resume(place: Place, name: str, console: Console, *, only_failed: bool) -> tuple[RunFolder, bool]:
    """Go on with a run: what has no end yet, or only the groups in which a cell failed, to measure those cells
    again. Gives the folder and whether every cell of these groups is sound."""
    night = RunFolder.find(place.runs_dir, name).plan().night
    place = telling(place, night.rules.notify if night else None, console)

    def prepared() -> Prepared:
        folder = RunFolder.find(place.runs_dir, name)
        require_handed(folder, None)
        found = again(place, folder, folder.plan())
        return _only_failed(found, folder) if only_failed else found

    return invocation.carry_out(place, prepared, console, doing=f"resume {name}", work=confirming.run)


def telling(place: Place, notify: Notify | None, console: Console) -> Place:
    """The place with whom a matrix says is to be told. The address is taken out of what pip and others get to see."""
    if notify is None:
        return place
    environment = dict(place.environment)
    address = environment.pop(notify.webhook_env, None)
    if notify.webhook_env == WEBHOOK:
        address = place.told.webhook
    if not address:
        console.say(f"{notify.webhook_env} is not set: no webhook will be told", "yellow")
    told = replace(place.told, webhook=address or None, only_trouble=notify.on is NotifyOn.TROUBLE)
    return replace(place, told=told, environment=environment)


def was_cut_short(runs_dir: Path, name: str) -> bool:
    """Whether there is such a run, and it never came to its end."""
    return (runs_dir / name / RUN).is_file() and not RunFolder.find(runs_dir, name).is_over


def run_group(place: Place, run_path: Path, group_id: str, console: Console) -> tuple[RunFolder, bool]:
    """One group of a stored plan, into its run's folder; for who hands groups out to several hosts."""

    def prepared() -> Prepared:
        folder = RunFolder.open(run_path)
        plan = folder.plan()
        groups = {group.group.id: group for group in plan.groups}
        if group_id not in groups:
            raise unknown("group", group_id, groups)
        one = plan.model_copy(update={"groups": (groups[group_id],)})
        return replace(again(place, folder, one), event="group-taken")

    return invocation.carry_out(place, prepared, console, doing=f"run-group {group_id}", work=bench.run_alone)


def again(place: Place, folder: RunFolder, plan: Plan) -> Prepared:
    """A stored plan on this host, in the folder where it was begun. Nothing is chosen anew."""
    runtime, _ = choose(
        _as_before(plan.groups),
        place.daemon,
        [group.image.build for group in plan.groups],
        base=_base(plan.groups),
        cache_dir=place.cache_dir,
        environment=place.environment,
        pull=True,
    )
    return Prepared(plan, runtime, facts.host(), load_backends(), folder, "run-resumed")


def unfinished(runs_dir: Path, wish: Wish) -> RunFolder | None:
    """The newest run of the same matrix, subset and selection, if it never came to its end."""
    newest = next(_nights(runs_dir, wish), None)
    return None if newest is None or newest.is_over else newest


def require_handed(folder: RunFolder, by: str | None) -> None:
    """RequestError unless this run's groups are handed out by that one; None is nobody: they run on this host."""
    began = [e for e in folder.read_journal().entries if e.get("event") == "run-began"]
    found = next((str(e["by"]) for e in began if e.get("by")), None)
    if found == by:
        return
    if found is None:
        raise RequestError(
            f"{folder.id} was begun on this host, and cut short", hint="resume it here, or begin anew: --new"
        )
    told = f"levelbench matrix with --fleet {found} and the options that it had, or anew: --new"
    if found in CI:
        told = (
            f"run the jobs that are missing where they were handed to, then: levelbench collect {folder.id}"
        )
    raise RequestError(f"the groups of {folder.id} are handed to other hosts ({found})", hint=told)


def _nights(runs_dir: Path, wish: Wish) -> Iterator[RunFolder]:
    """Runs of the same matrix, newest first."""
    names = sorted(
        (p.parent.name for p in runs_dir.glob(f"*/{RUN}") if p.parent.name != LATEST), reverse=True
    )
    for name in names:
        folder = RunFolder(runs_dir / name)
        try:
            night = folder.plan().night
        except RequestError:
            continue
        same = (wish.file.digest, wish.subsets, wish.only)
        if night is not None and (night.digest, night.subsets, night.only) == same:
            yield folder


def _estimated(place: Place, plan: Plan) -> Plan:
    found = history.estimates(plan.groups, past(place.runs_dir))
    pairs = zip(plan.groups, found, strict=True)
    return plan.model_copy(update={"groups": tuple(g.model_copy(update={"estimate": e}) for g, e in pairs)})


def _only_failed(found: Prepared, folder: RunFolder) -> Prepared:
    """The groups in which a cell failed, that cell to be measured again. RequestError where there is none."""
    failed = tuple(
        stored.cell_id for stored in folder.results() if stored.result is not None and stored.result.failure
    )
    groups = tuple(g for g in found.plan.groups if any(cell.id in failed for cell in g.group.cells))
    if not groups:
        found.runtime.close()
        raise RequestError("no cell of this run has failed", hint="go on with it: levelbench resume RUN")
    return replace(found, plan=found.plan.model_copy(update={"groups": groups}), redone=failed)


def _as_before(groups: tuple[GroupPlan, ...]) -> RuntimeChoice:
    """The runtime that the plan was made for, by name: never another instead."""
    if not groups:
        raise RequestError("this run has no group to run", hint="measure anew")
    return RuntimeChoice.DOCKER if groups[0].group.runtime is RuntimeKind.DOCKER else RuntimeChoice.PROCESS


def _base(groups: tuple[GroupPlan, ...]) -> str | None:
    """The base image that was named for all builds then, if one was."""
    return next((group.base for group in groups if group.base != group.image.build.base), None)
