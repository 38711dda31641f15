"""What a batch system tells of our jobs, and what is asked of it: plain values, whatever the system."""

from __future__ import annotations

from enum import Enum
from pathlib import PurePosixPath

from pydantic import Field

from backends.contract import Value


class JobState(str, Enum):
    """As much of a batch system's states as a driver acts on. STUCK waits for a person; CANCELLED was ended by
    one; LOST ended without a word of its own (its host failed, its time was over, its script failed)."""

    WAITING = "waiting"
    UNPLACEABLE = "unplaceable"
    RUNNING = "running"
    STUCK = "stuck"
    DONE = "done"
    LOST = "lost"
    CANCELLED = "cancelled"

    @property
    def live(self) -> bool:
        return self in {JobState.WAITING, JobState.UNPLACEABLE, JobState.RUNNING}


class Job(Value):
    """One job of ours as it was last seen. `host` is empty before it runs; `words` are the system's own."""

    id: str
    group: str
    state: JobState
    host: str = ""
    words: str = ""


class JobSpec(Value):
    """A cell group to be run. `command` runs on the host, `minutes` is its limit, `log_path` takes its output;
    `host`, if given, is the only one that may run it. `token_path` names a file on the hosts that holds the
    hub's token: it is read there, and never part of a job. `plan` goes along into `folder` there, where hosts
    share none: a path that begins with ~."""

    run: str
    group: str
    command: tuple[str, ...] = Field(min_length=1)
    minutes: int = Field(gt=0)
    log_path: PurePosixPath
    host: str | None = None
    token_path: PurePosixPath | None = None
    folder: PurePosixPath | None = None
    plan: str = ""
