"""Through the clean-room gate: what it saw is kept in the run folder, told, and then decides."""

from __future__ import annotations

from orchestrator.console import Console
from orchestrator.domain.cleanroom import Cleared, Moment
from orchestrator.host.gate import Gate, require
from orchestrator.store import files
from orchestrator.store.runs import RunFolder


def passed(gate: Gate, moment: Moment, group_id: str, folder: RunFolder, console: Console) -> Cleared:
    """How the host was found. NotCleanError where it is not clean; `gates/` holds why."""
    name = f"{group_id}.{moment.value}"
    cleared = gate.look(moment, console.step)
    files.write_atomically(folder.gate_path(name), cleared.model_dump_json(indent=2).encode() + b"\n")
    in_the_way = [thing.text for thing in cleared.in_the_way]
    folder.journal("gate", seen=name, in_the_way=in_the_way, remarks=cleared.remarks)
    require(cleared)
    for remark in cleared.remarks:
        console.say(f"    {remark}", "yellow")
    return cleared
