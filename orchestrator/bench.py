"""Runs a plan: each group of cells from image to proven teardown, results written as they come.

Read `run_group` first: it is DESIGN.md section 5, top to bottom.
"""

from __future__ import annotations

from orchestrator import measure, steps
from orchestrator.artifacts import Store
from orchestrator.domain.plan import GroupPlan, Plan
from orchestrator.domain.result import Phase
from orchestrator.errors import CellError
from orchestrator.group import Group, Kit
from orchestrator.load.client import LoadClient
from orchestrator.store.runs import RunFolder


def run(plan: Plan, kit: Kit, folder: RunFolder) -> bool:
    """Every group in turn; gives whether every cell has figures.

    A CellError is recorded and the next group goes on. HostError and Interrupted end the run: after
    them nothing may be measured here.
    """
    store = Store(kit.cache_dir, kit.cache_limit_bytes, tuple(n for g in plan.groups for n in steps.names(g)))
    store.sweep()
    ended_well = [run_group(group, kit, folder, store) for group in plan.groups]
    folder.journal("run-ended", complete=all(ended_well))
    return all(ended_well)


def run_group(plan: GroupPlan, kit: Kit, folder: RunFolder, store: Store) -> bool:
    """One deployment and all its cells."""
    kit.console.say(f"{plan.group.id}: {plan.group.version}, {plan.group.runtime.value}", "bold")
    group = Group(plan, kit, folder, store)
    try:
        with group.phase(Phase.IMAGE):
            images = {spec: kit.runtime.image(spec, kit.console.step) for spec in plan.images}
            image = images[plan.image]
        with group.phase(Phase.WEIGHTS):
            weights = group.weights()
            draw = group.draw(weights.folder)
        weights = group.quantized(images, weights)
        outputs = group.outputs(images, weights)
        with group.deployed(image, weights, outputs) as deployment, LoadClient() as client:
            target = group.target(deployment, client, draw)
            with group.phase(Phase.READY):
                group.climb(deployment)
                measure.probe(target)
            with group.phase(Phase.WARMUP):
                measure.warm_up(target, plan.group.workload)
                measure.ask_canaries(target, plan.group.workload)
            provenance = group.provenance(deployment, image, weights, draw)
            with group.telemetry(target, deployment) as telemetry:
                for number, cell in enumerate(plan.group.cells):
                    measure.settle(target)
                    notes = group.reset(target) if number else ()
                    group.measure(cell, target, provenance, telemetry, notes)
    except CellError as error:
        group.fail(error)
    finally:
        group.down()
    return not group.failed
