"""A night's budget kept: which deployment comes next, and room on the disk for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from time import perf_counter

from orchestrator.artifacts import Store, held_bytes
from orchestrator.domain import shelf
from orchestrator.domain.budget import Pending, choose
from orchestrator.domain.cell import Role
from orchestrator.domain.ledger import spent_s
from orchestrator.domain.plan import GroupPlan, Plan
from orchestrator.kit import Kit
from orchestrator.report.records import State
from orchestrator.report.units import count
from orchestrator.store.runs import RunFolder

GIGABYTE = 10**9


def affordable(plan: Plan, kit: Kit, folder: RunFolder, began_s: float) -> Iterator[tuple[GroupPlan, ...]]:
    """What is still to be run, the next one first, as long as there is time; what is left out is noted. Time counts
    over all sittings since the night last came to its end; this one began at `began_s` of perf_counter."""
    budget = plan.rules.budget.minutes
    if budget is None:
        yield from (plan.groups[number:] for number in range(len(plan.groups)))
        return
    budget_s = budget * 60 - spent_s(folder.read_journal().entries)
    done = {stored.cell_id for stored in folder.results() if stored.state is State.COMPLETE}
    pending = [Pending(group, group.needs_s(done)) for group in plan.groups]
    while pending:
        left_s = budget_s - (perf_counter() - began_s)
        choice = choose(pending, left_s)
        for out in choice.out:
            _leave_out(out, left_s, done, kit, folder)
        taken = (*choice.out, *([choice.next] if choice.next else []))
        pending = [one for one in pending if one not in taken]
        if choice.next is not None:
            yield (choice.next.plan, *(one.plan for one in pending))


def limit_bytes(plan: Plan, kit: Kit) -> int | None:
    """What models, artifacts and images may take: the smaller of what the host and the night say."""
    asked = plan.rules.budget.disk_gb
    limits = [kit.cache_limit_bytes, None if asked is None else int(asked * GIGABYTE)]
    return min((limit for limit in limits if limit is not None), default=None)


def make_room(coming: Sequence[GroupPlan], kit: Kit, store: Store) -> None:
    """Remove images that were used least recently, until there is room for the next one's. None of those that are
    still to come goes, and nothing goes for what is measured again: the image of before is what that needs."""
    if store.limit_bytes is None or coming[0].group.role is Role.CONFIRM:
        return
    shelved = kit.runtime.shelved()
    taken_bytes = held_bytes(store.cache_dir) + sum(one.size_bytes for one in shelved)
    surplus_bytes = taken_bytes + shelf.missing_bytes(shelved, coming[0].images) - store.limit_bytes
    for one in shelf.removable(shelved, [image for group in coming for image in group.images]):
        if surplus_bytes > 0 and kit.runtime.discard(one.name):
            surplus_bytes -= one.size_bytes
            kit.console.say(f"  removed {one.name}, which was used least recently", "yellow")


def images_bytes(kit: Kit) -> int:
    """What images take, of what the limit is for."""
    return sum(one.size_bytes for one in kit.runtime.shelved())


def _leave_out(out: Pending, left_s: float, done: set[str], kit: Kit, folder: RunFolder) -> None:
    """Note of every cell without an end that there is no time for it. That is no end: going on takes it."""
    why = (
        f"no time: its deployment takes about {out.needs_s / 60:.1f} min, {max(0.0, left_s) / 60:.1f} min of the "
        f"budget were left, and it is worth {out.plan.value}"
    )
    cells = [cell.id for cell in out.plan.group.cells if cell.id not in done]
    for cell_id in cells:
        folder.journal("cell-left-out", cell=cell_id, group=out.plan.group.id, why=why)
    kit.console.say(f"left out: {out.plan.group.id}, {count(len(cells), 'cell')}: {why}", "yellow")
