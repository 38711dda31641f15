"""The driver: an idempotent loop that gets every group of a run published.

Truth is the published results, then the batch system's queue, and only last what this process remembers; so it may
be killed and started again at any point, and neither loses nor repeats a group. `decide` is the whole policy, and
pure.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Protocol

from backends.contract import Value
from orchestrator.errors import HostError
from orchestrator.fleet import publishing
from orchestrator.fleet.jobs import Job, JobSpec, JobState
from orchestrator.fleet.publishing import Attempt, Published

MAX_TRIES = 3
MAX_SUBMISSIONS = 8
UNPLACEABLE_S = 600.0
POLL_S = 5.0
# A result on a shared file system may be seen a little after the job that wrote it has gone.
GRACE_S = 15.0
UNANSWERED_S = 1800.0


class Fleet(Protocol):
    """What a driver needs of a batch system."""

    def submit(self, spec: JobSpec, exclude: Sequence[str] = ()) -> str: ...
    def jobs(self, run: str) -> tuple[Job, ...]: ...
    def ended(self, run: str) -> tuple[Job, ...]: ...
    def up_hosts(self) -> tuple[str, ...]: ...
    def cancel(self, ids: Sequence[str]) -> None: ...


class Verb(str, Enum):
    WAIT = "wait"
    SUBMIT = "submit"
    CANCEL = "cancel"
    GIVE_UP = "give-up"


class Decision(Value):
    """What to do about one group now, and why, in words for a person."""

    verb: Verb
    why: str = ""
    exclude: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Sight:
    """One group as it is seen now. `up_hosts`: those that it may go to instead. `submitted`: how often this run's journal says so. `ours`: ids that we cancelled
    ourselves. `still_s`: for how long it has been as it is."""

    jobs: tuple[Job, ...]
    attempts: tuple[Attempt, ...]
    up_hosts: tuple[str, ...]
    submitted: int = 0
    ours: frozenset[str] = frozenset()
    still_s: float = 0.0


def decide(sight: Sight) -> Decision:
    """The policy for a group that is not published."""
    stuck = tuple(job.id for job in sight.jobs if job.state is JobState.STUCK)
    if stuck:
        return Decision(verb=Verb.CANCEL, ids=stuck, why="held: it would wait for a person")
    live = [job for job in sight.jobs if job.state.live]
    if live:
        return _about_live(sight, live[-1])
    if sight.submitted and sight.still_s < GRACE_S:
        return Decision(verb=Verb.WAIT)
    return _about_gone(sight)


def _about_live(sight: Sight, job: Job) -> Decision:
    if job.state is JobState.UNPLACEABLE and sight.still_s > UNPLACEABLE_S:
        why = f"no host for {sight.still_s / 60:.0f} min ({job.words}): again, wherever there is one"
        return Decision(verb=Verb.CANCEL, ids=(job.id,), why=why)
    return Decision(verb=Verb.WAIT)


def _about_gone(sight: Sight) -> Decision:
    """No job lives, and there is no result: nobody was sent yet, or something came between."""
    cancelled = [j for j in sight.jobs if j.state is JobState.CANCELLED and j.id not in sight.ours]
    if cancelled:
        return Decision(verb=Verb.GIVE_UP, why=f"job {cancelled[-1].id} was cancelled by somebody")
    failed = _failed_hosts(sight)
    if len(failed) >= MAX_TRIES:
        where = ", ".join(host or "a host that did not say its name" for host in failed)
        return Decision(verb=Verb.GIVE_UP, why=f"{len(failed)} tries ended without a result, on {where}")
    if sight.submitted >= MAX_SUBMISSIONS:
        return Decision(verb=Verb.GIVE_UP, why=f"submitted {sight.submitted} times, and forgotten each time")
    lost = f"no result from {failed[-1] or 'its host'}: again" if failed else ""
    return Decision(verb=Verb.SUBMIT, exclude=excluded(failed, sight.up_hosts), why=lost)


def excluded(failed: Sequence[str], up_hosts: Sequence[str]) -> tuple[str, ...]:
    """Hosts to keep away from, newest failure first in mind: never all of those that are up, or the group would
    wait for ever."""
    unique = [host for host in dict.fromkeys(reversed(failed)) if host]
    kept: list[str] = []
    for host in unique:
        if set(up_hosts) - {*kept, host}:
            kept.append(host)
    return tuple(sorted(kept))


def _failed_hosts(sight: Sight) -> tuple[str, ...]:
    """Where tries ended without a result, one entry each: attempts that began, and jobs that ended before theirs
    did. A job that was requeued has several attempts."""
    began = {attempt.id.partition(".")[0] for attempt in sight.attempts}
    silent = [
        job.host
        for job in sight.jobs
        if job.state in {JobState.LOST, JobState.DONE} and job.id not in began and job.id not in sight.ours
    ]
    return (*(attempt.host for attempt in sight.attempts), *silent)


@dataclass
class Memory:
    """What the driver remembers, for patience only: what it saw last of each group, and since when."""

    seen: dict[str, tuple[object, float]] = field(default_factory=dict)

    def still_s(self, group: str, what: object, now_s: float) -> float:
        before = self.seen.get(group)
        if before is None or before[0] != what:
            self.seen[group] = (what, now_s)
            return 0.0
        return now_s - before[1]


@dataclass(frozen=True, slots=True)
class Errand:
    """What is to be done. `journal` keeps (event, facts) durably and `told` gives back what it kept; `say` is for a
    person; `bring` fetches results from where they were
    written, where that is not here, and `collect` puts what is published into the run."""

    run: str
    folder: Path
    specs: Mapping[str, JobSpec]
    journal: Callable[..., None]
    journalled: Callable[[], Sequence[Mapping[str, object]]]
    say: Callable[[str], None]
    bring: Callable[[], None] = lambda: None
    collect: Callable[[], None] = lambda: None
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


@dataclass(frozen=True, slots=True)
class Outcome:
    """How it ended: what is published, and why the rest is not."""

    published: Mapping[str, Published]
    given_up: Mapping[str, str]


def drive(errand: Errand, fleet: Fleet) -> Outcome:
    """Until every group is published or given up. HostError when the batch system has not answered for half an
    hour: its jobs go on, and the same command later goes on from there."""
    memory, given_up, answered_s = Memory(), dict[str, str](), errand.clock()
    while True:
        try:
            waiting = _look(errand, fleet, memory, given_up)
            answered_s = errand.clock()
        except HostError as error:
            if errand.clock() - answered_s > UNANSWERED_S:
                raise
            errand.say(f"{error}; trying again")
            waiting = True
        if not waiting:
            return Outcome(publishing.published(errand.folder), given_up)
        errand.sleep(POLL_S)


def _look(errand: Errand, fleet: Fleet, memory: Memory, given_up: dict[str, str]) -> bool:
    """One look at everything, and what follows from it; whether there is something left to wait for."""
    jobs = _jobs(errand, fleet)  # before the results: a result is there before its job has gone
    errand.bring()
    errand.collect()
    done, began = publishing.published(errand.folder), publishing.attempts(errand.folder)
    hosts, log = fleet.up_hosts(), errand.journalled()
    ours = frozenset(str(e["job"]) for e in log if e.get("event") == "job-cancelled")
    open_groups = [group for group in errand.specs if group not in done and group not in given_up]
    for group in open_groups:
        mine = tuple(job for job in jobs if job.group == group)
        seen = (mine, began.get(group, ()))
        sight = Sight(
            jobs=mine,
            attempts=seen[1],
            up_hosts=() if errand.specs[group].host else hosts,
            submitted=sum(e.get("event") == "job-submitted" and e.get("group") == group for e in log),
            ours=ours,
            still_s=memory.still_s(group, seen, errand.clock()),
        )
        _tell(errand, memory, group, mine)
        _act(errand, fleet, group, decide(sight), given_up)
    return any(group not in given_up for group in open_groups)


def _jobs(errand: Errand, fleet: Fleet) -> tuple[Job, ...]:
    """Those in the queue, and those that only the accounting still knows."""
    queued = fleet.jobs(errand.run)
    known = {job.id for job in queued}
    return (*(job for job in fleet.ended(errand.run) if job.id not in known), *queued)


def _act(errand: Errand, fleet: Fleet, group: str, decision: Decision, given_up: dict[str, str]) -> None:
    if decision.verb is Verb.WAIT:
        return
    if decision.why:
        errand.say(f"{group}: {decision.why}")
    if decision.verb is Verb.GIVE_UP:
        given_up[group] = decision.why
        errand.journal("group-given-up", group=group, why=decision.why)
    elif decision.verb is Verb.CANCEL:
        for number in decision.ids:
            errand.journal("job-cancelled", group=group, job=number, why=decision.why)
        fleet.cancel(decision.ids)
    else:
        number = fleet.submit(errand.specs[group], decision.exclude)
        errand.journal("job-submitted", group=group, job=number, excluded=list(decision.exclude))
        apart = f", not on {', '.join(decision.exclude)}" if decision.exclude else ""
        errand.say(f"{group}: submitted as job {number}{apart}")


def _tell(errand: Errand, memory: Memory, group: str, jobs: Sequence[Job]) -> None:
    """Say when a job got a host or changed its state."""
    now = jobs[-1] if jobs else None
    key = f"told {group}"
    if now is not None and memory.still_s(key, (now.id, now.state, now.host), errand.clock()) == 0.0:
        where = f" on {now.host}" if now.host else ""
        errand.say(f"{group}: job {now.id} {now.state.value}{where}")
