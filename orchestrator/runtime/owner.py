"""Who started an engine, told by labels, so that a dead owner can be proven before anything is removed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from orchestrator.host import locks

OURS = "levelbench"
DEPLOYMENT = "levelbench.deployment"
BOOT = "levelbench.owner.boot-id"
NAMESPACE = "levelbench.owner.pid-namespace"
PID = "levelbench.owner.pid"
START = "levelbench.owner.start"


def labels(deployment: str) -> dict[str, str]:
    """The labels of everything that this process makes for one deployment."""
    me = locks.identity(os.getpid())
    return {
        OURS: "1",
        DEPLOYMENT: deployment,
        BOOT: me.boot_id,
        NAMESPACE: _pid_namespace(),
        PID: str(me.pid),
        START: str(me.start_ticks),
    }


def is_dead(found: Mapping[str, str]) -> bool:
    """Whether the labels name an owner that provably runs no more: it was of another boot, or its number is
    free or taken by a later process. What cannot be proven from here is not dead."""
    whole = all(found.get(name) for name in (DEPLOYMENT, BOOT, NAMESPACE, PID, START))
    if found.get(OURS) != "1" or not whole or not (found[PID] + found[START]).isdigit():
        return False
    now = locks.identity(int(found[PID]))
    if now.boot_id != found[BOOT]:
        return bool(now.boot_id)
    if _pid_namespace() != found[NAMESPACE]:
        return False  # the same number names another process there
    if now.start_ticks:
        return now.start_ticks != int(found[START])
    return locks.has_ended(now.pid) or not locks.exists(now.pid)


def _pid_namespace() -> str:
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""
