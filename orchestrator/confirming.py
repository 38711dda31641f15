"""What looks like a change is measured once more in the same night, before anybody is told of it."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator import bench, retrospect
from orchestrator.bench import Groups
from orchestrator.domain.judged import Judged
from orchestrator.domain.plan import Plan
from orchestrator.domain.reruns import Rerun, cell, changed, confirmations, gathered
from orchestrator.errors import HostError
from orchestrator.kit import Kit
from orchestrator.report import history
from orchestrator.report.units import count
from orchestrator.store.runs import RunFolder


def run(plan: Plan, kit: Kit, folder: RunFolder) -> bool:
    """As `bench.run`; of a night, what has changed since earlier runs is measured again before it is over."""
    if plan.night is None:
        return bench.run(plan, kit, folder)
    return bench.run(plan, kit, folder, lambda measure: confirm(measure, kit, folder))


def confirm(measure: Groups, kit: Kit, folder: RunFolder) -> None:
    """Hold the run against those before it; measure what changed once more, and with the engine of before if that is
    still here; say what follows. Without a usable index nothing is confirmed, and the run goes on to its end."""
    try:
        judged = retrospect.tonight(folder)
    except HostError as error:
        kit.console.say(f"no history: {error}", "yellow")
        return
    waived = folder.record().waived
    flagged = [one for one in judged if one.trend.is_news and one.newest.cell not in waived]
    cells = _measured(flagged, measure, kit, folder)
    entries = retrospect.entries(folder) if flagged else {}
    for one in flagged:
        found = changed(one, history.finding(one), cells, entries)
        folder.journal("change-judged", **found.model_dump(mode="json"))
        kit.console.say(f"{found.found}; {history.conclusion(found.conclusion)}", "bold yellow")


def _measured(flagged: Sequence[Judged], measure: Groups, kit: Kit, folder: RunFolder) -> dict[Rerun, str]:
    """Every re-run that is asked for, and the cell in which it was made."""
    runs_dir = folder.path.parent
    asked = gathered(
        confirmations(flagged, lambda rerun: retrospect.image_here(runs_dir, kit.runtime, rerun))
    )
    plans = [retrospect.again(runs_dir, reruns) for reruns in asked]
    names = {"flagged": [one.newest.cell for one in flagged], "groups": [plan.group.id for plan in plans]}
    folder.journal("history-judged", **names)
    if plans:
        told = f"{count(len(flagged), 'cell')} changed since earlier runs, measured once more"
        kit.console.say(f"{told}: {count(len(plans), 'deployment')}", "bold")
        measure(plans)
    return {rerun: cell(rerun, plan) for reruns, plan in zip(asked, plans, strict=True) for rerun in reruns}
