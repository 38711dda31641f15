"""Who started a container, told by labels, so that a dead owner can be proven before anything is removed."""

from __future__ import annotations

import os
from collections.abc import Mapping

from orchestrator.host import locks

OURS = "levelbench"
DEPLOYMENT = "levelbench.deployment"
BOOT = "levelbench.owner.boot-id"
PID = "levelbench.owner.pid"
START = "levelbench.owner.start"


def labels(deployment: str) -> dict[str, str]:
    """The labels of everything that this process makes for one deployment."""
    me = locks.identity(os.getpid())
    return {
        OURS: "1",
        DEPLOYMENT: deployment,
        BOOT: me.boot_id,
        PID: str(me.pid),
        START: str(me.start_ticks),
    }


def is_dead(found: Mapping[str, str]) -> bool:
    """Whether the labels name an owner and that owner provably runs no more: another boot, or its number
    free or taken by a later process."""
    if found.get(OURS) != "1" or not found.get(PID, "").isdigit():
        return False
    stated = locks.Identity(int(found[PID]), int(found.get(START, "0")), found.get(BOOT, ""))
    return not stated.alive
