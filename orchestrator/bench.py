"""Runs a plan: each group of cells from image to proven teardown, results written as they come.

Read `deploy_and_measure` first: it is DESIGN.md section 5, top to bottom. A run that is gone on with takes the same
way: a cell that has ended counts where all that it rests on is proven to be as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter

from orchestrator import measure, steps
from orchestrator.artifacts import Store
from orchestrator.domain import attempts, drift
from orchestrator.domain.cell import Role
from orchestrator.domain.cleanroom import Moment
from orchestrator.domain.plan import GroupPlan, Plan
from orchestrator.domain.result import Phase, Result
from orchestrator.errors import CellError
from orchestrator.group import Group
from orchestrator.kit import Kit
from orchestrator.load.client import LoadClient
from orchestrator.store.runs import RunFolder

Groups = Callable[[Sequence[GroupPlan]], object]


def nothing_more(measure: Groups) -> None:
    """A run that ends with the groups of its plan."""


def run(plan: Plan, kit: Kit, folder: RunFolder, then: Callable[[Groups], None] = nothing_more) -> bool:
    """Every group in turn; gives whether every cell of the plan came to figures that are not invalid. `then` gets a
    function that measures more groups, before the run is over.

    A CellError is recorded and the next group goes on; a backend and model that have failed twice the same way are
    not tried a third time. HostError and Interrupted end the run: after them nothing may be measured here.
    """
    store = _store(plan, kit)

    def measure(groups: Sequence[GroupPlan]) -> list[tuple[Result, ...]]:
        ended: list[tuple[Result, ...]] = []
        for number, group in enumerate(groups, 1):
            kit.console.say(f"group {number} of {len(groups)}", "dim")
            ended.append(run_group(group, kit, folder, store, ended))
        return ended

    ended = measure(plan.groups)
    tell_drift(ended, kit, folder)
    then(measure)
    complete = all(_are_sound(results) for results in ended)
    folder.journal("run-ended", complete=complete)
    return complete


def run_alone(plan: Plan, kit: Kit, folder: RunFolder) -> bool:
    """The only group of the plan, for somebody else's run, which goes on after it; gives whether every cell is sound."""
    (group,) = plan.groups
    return _are_sound(run_group(group, kit, folder, _store(plan, kit)))


def _store(plan: Plan, kit: Kit) -> Store:
    store = Store(kit.cache_dir, kit.cache_limit_bytes, tuple(n for g in plan.groups for n in steps.names(g)))
    store.sweep()
    return store


def _are_sound(results: Sequence[Result]) -> bool:
    """Whether all have figures, and none that their own verdict calls invalid: those are as good as none."""
    return all(r.metrics is not None and (r.verdict is None or not r.verdict.is_invalid) for r in results)


def run_group(
    plan: GroupPlan, kit: Kit, folder: RunFolder, store: Store, before: Sequence[tuple[Result, ...]] = ()
) -> tuple[Result, ...]:
    """One deployment and all its cells, whose results it gives; `before` are those of the groups before it."""
    kit.console.say(f"{plan.group.id}: {plan.group.version}, {plan.group.runtime.value}", "bold")
    began_s = perf_counter()
    folder.journal("group-began", group=plan.group.id, role=plan.group.role.value)
    group = Group(plan, kit, folder, store)
    if group.ends.all_failed:
        kit.console.say("  every cell has failed before: --only-failed tries them again", "yellow")
    elif like := attempts.hopeless(plan.group, before):
        group.skip(like)
    else:
        while not _ended(group, plan, kit):
            pass
    folder.journal("group-ended", group=plan.group.id, took_s=perf_counter() - began_s)
    return group.ends.results


def _ended(group: Group, plan: GroupPlan, kit: Kit) -> bool:
    """One attempt at a group; False if it is to be made once more."""
    again = False
    try:
        deploy_and_measure(group, plan, kit)
    except CellError as error:
        again = group.tries_again(error)
        if not again:
            group.fail(error)
    finally:
        group.down()
    group.gate(Moment.AFTER)
    return not again


def deploy_and_measure(group: Group, plan: GroupPlan, kit: Kit) -> None:
    """From the image to the last cell. CellError where it comes no further."""
    with group.phase(Phase.IMAGE):
        images = {spec: kit.runtime.image(spec, kit.console.step) for spec in plan.images}
        image = images[plan.image]
    with group.phase(Phase.WEIGHTS):
        weights = group.weights()
        draw = group.draw(weights.folder)
    weights = group.quantized(images, weights)
    outputs = group.outputs(images, weights)
    basis = group.basis(image, weights, outputs, draw)
    due = group.ends.due(basis)
    if not due:
        return
    group.gate(Moment.BEFORE)
    with group.deployed(basis) as deployment, LoadClient() as client:
        target = group.target(deployment, client, draw)
        with group.phase(Phase.READY):
            group.climb(deployment)
            measure.probe(target)
        with group.phase(Phase.WARMUP):
            measure.warm_up(target, plan.group.workload)
            measure.ask_canaries(target, plan.group.workload)
        origin = (basis, group.provenance(deployment, basis))
        with group.telemetry(target, deployment) as telemetry:
            for number, cell in enumerate(due):
                measure.settle(target)
                notes = group.reset(target) if number else ()
                group.measure(cell, target, origin, telemetry, notes)


def tell_drift(ended: Sequence[tuple[Result, ...]], kit: Kit, folder: RunFolder) -> None:
    """Hold the control cell's figures against its first ones, if the plan has one."""
    controls = [r for results in ended for r in results if r.cell.group.role is Role.CONTROL]
    if not controls:
        return
    moved, told = drift.drift(controls), drift.told(controls)
    folder.journal("control-judged", steady=None if moved is None else not moved, told=told)
    for line in told:
        kit.console.say(line, "green" if moved == () else "yellow")
