"""Runs a plan: each group of cells from image to proven teardown, results written as they come.

Read `deploy_and_measure` first: it is DESIGN.md section 5, top to bottom. A run that is gone on with takes the same
way: a cell that has ended counts where all that it rests on is proven to be as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter

from orchestrator import budgets, measure, steps
from orchestrator.artifacts import Store
from orchestrator.domain import attempts, drift
from orchestrator.domain.cell import Role
from orchestrator.domain.cleanroom import Moment
from orchestrator.domain.matrix import Budget
from orchestrator.domain.plan import GroupPlan, Plan
from orchestrator.domain.result import Phase, Result
from orchestrator.errors import CellError
from orchestrator.group import Group
from orchestrator.kit import Kit
from orchestrator.load.client import LoadClient
from orchestrator.report import ledger
from orchestrator.store.runs import RunFolder

Groups = Callable[[Sequence[GroupPlan]], object]


def nothing_more(measure: Groups) -> None:
    """A run that ends with the groups of its plan."""


def run(plan: Plan, kit: Kit, folder: RunFolder, then: Callable[[Groups], None] = nothing_more) -> bool:
    """Every group in turn; gives whether every cell of these came to figures that are not invalid, or to a
    failure that is waived. `then` gets a function that measures more groups, before the run is over.

    A CellError is recorded and the next group goes on; a backend and model that have failed twice the same way are
    not tried a third time, and what the budget has no time for is left out. HostError and Interrupted end the run: after them nothing may be measured here.
    """
    began_s = perf_counter()
    store = _store(plan, kit)

    def measure(groups: Sequence[GroupPlan]) -> list[tuple[Result, ...]]:
        ended: list[tuple[Result, ...]] = []
        some = plan.model_copy(update={"groups": tuple(groups)})
        for coming in budgets.affordable(some, kit, folder, began_s):
            kit.console.say(f"group {len(ended) + 1} of {len(groups)}", "dim")
            budgets.make_room(coming, kit, store)
            ended.append(run_group(coming[0], kit, folder, store, plan.rules.budget, ended))
        return ended

    ended = measure(plan.groups)
    tell_drift(ended, kit, folder)
    then(measure)
    complete = _has_measured(ended) and all(_are_well(results) for results in ended)
    folder.journal("run-ended", complete=complete, took_s=perf_counter() - began_s)
    for line in ledger.lines(folder.ledger()):
        kit.console.say(line)
    return complete


def run_alone(plan: Plan, kit: Kit, folder: RunFolder) -> bool:
    """The only group of the plan, for somebody else's run, which goes on after it; gives whether every cell is sound."""
    (group,) = plan.groups
    store = _store(plan, kit)
    budgets.make_room((group,), kit, store)
    return _are_well(run_group(group, kit, folder, store, plan.rules.budget))


def _store(plan: Plan, kit: Kit) -> Store:
    needed = tuple(n for g in plan.groups for n in steps.names(g))
    store = Store(
        kit.cache_dir, budgets.limit_bytes(plan, kit), needed, beside=lambda: budgets.images_bytes(kit)
    )
    store.sweep()
    return store


def _has_measured(ended: Sequence[tuple[Result, ...]]) -> bool:
    """Whether anything but control cells was run: a night that had no time at all is not well."""
    return any(r.cell.group.role is not Role.CONTROL for results in ended for r in results)


def _are_well(results: Sequence[Result]) -> bool:
    """Whether all have sound figures, or failed as it was known that they would."""
    return all(r.is_sound or (r.failure is not None and r.failure.waived is not None) for r in results)


def run_group(
    plan: GroupPlan,
    kit: Kit,
    folder: RunFolder,
    store: Store,
    budget: Budget,
    before: Sequence[tuple[Result, ...]] = (),
) -> tuple[Result, ...]:
    """One deployment and all its cells, whose results it gives; `before` are those of the groups before it."""
    kit.console.say(f"{plan.group.id}: {plan.group.version}, {plan.group.runtime.value}", "bold")
    began_s = perf_counter()
    folder.journal("group-began", group=plan.group.id, role=plan.group.role.value)
    group = Group(plan, kit, folder, store, budget)
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
