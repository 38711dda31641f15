"""Slurm through the text commands that every release has: sbatch, squeue, sacct, scancel, sinfo.

Jobs are found again by their comment, never by a remembered number: a controller that is killed right after a
submission forgets the job and gives its number to another one. Works without accounting, and through a login
node over ssh. No JSON: its shape changes between releases, and it needs plugins.
"""

from __future__ import annotations

import base64
import gzip
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

from jinja2 import Environment, StrictUndefined

from backends.contract import Value
from orchestrator.errors import BenchError, HostError, RequestError
from orchestrator.fleet.jobs import Job, JobSpec, JobState
from orchestrator.runtime.command import CommandError, output

PREFIX = "levelbench"
APART = "\x1f"
DEADLINE_S = 60.0
GRACE_S = 120  # before its time limit a job is told to end, as long as a teardown may take
SSH = ("ssh", "-o", "BatchMode=yes", "-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=3")

# Of a command: its argv, what it reads, its deadline; gives what it wrote.
Call = Callable[..., str]

_SCRIPT = Environment(undefined=StrictUndefined, autoescape=False).from_string(  # noqa: S701 - a shell script
    Path(__file__).with_name("group.sbatch.j2").read_text()
)


class SlurmSettings(Value):
    """Where and how jobs are submitted. `gres` as Slurm writes it (`gpu:a100:1`); `login` is a host for ssh;
    `options` are further options of sbatch (an account, a reservation)."""

    partition: str | None = None
    gres: str | None = None
    login: str | None = None
    options: tuple[str, ...] = ()


class Slurm:
    """One cluster."""

    def __init__(self, settings: SlurmSettings, call: Call = output) -> None:
        self._settings = settings
        self._call = call

    def submit(self, spec: JobSpec, exclude: Sequence[str] = ()) -> str:
        """Hand a job over; its number. RequestError with Slurm's own words where it can never run."""
        try:
            number = self._run(self._sbatch(spec, exclude), stdin=script(spec))
        except CommandError as error:
            if _unreachable(error):
                raise _down(error) from error
            raise RequestError(
                f"Slurm does not take the job of {spec.group}: {error.tail.strip()}",
                hint="see `sinfo -o '%P %G %D %T'` for the partitions and GPUs that there are",
            ) from error
        return number.strip().partition(";")[0]

    def jobs(self, run: str) -> tuple[Job, ...]:
        """Every job of a run that Slurm still knows, in the order of their numbers; later ones of a group after
        earlier ones. HostError while the controller does not answer, which says nothing of the jobs."""
        format_ = APART.join(("%A", "%k", "%T", "%N", "%r"))
        lines = self._asked(("squeue", "--noheader", "--states=all", f"--format={format_}")).splitlines()
        return _sorted(job for line in lines if (job := _queued(line, run)) is not None)

    def ended(self, run: str) -> tuple[Job, ...]:
        """Those that only the accounting remembers; none where there is none. Their comment may not be stored,
        so they are found by name, which is the same."""
        fields = (
            "--noheader",
            "--parsable2",
            "--allocations",
            "--format=JobIDRaw,JobName%200,State,NodeList",
        )
        try:
            text = self._run(("sacct", *fields, f"--delimiter={APART}", "--starttime=now-7days"))
        except CommandError:
            return ()
        return _sorted(job for line in text.splitlines() if (job := _accounted(line, run)) is not None)

    def up_hosts(self) -> tuple[str, ...]:
        """The hosts of the partition that take jobs, busy ones included."""
        only = (f"--partition={self._settings.partition}",) if self._settings.partition else ()
        text = self._asked(("sinfo", "--noheader", "--Node", *only, f"--format=%N{APART}%T"))
        pairs = (line.split(APART) for line in text.splitlines() if APART in line)
        return tuple(dict.fromkeys(host for host, state in pairs if _is_up(state)))

    def cancel(self, ids: Sequence[str]) -> None:
        """End jobs; those that have ended already are no fault."""
        if ids:
            self._asked(("scancel", *ids))

    def neighbours(self, host: str, own_id: str) -> tuple[str, ...]:
        """Other jobs that run on a host. A partition with OverSubscribe=FORCE ignores --exclusive in silence."""
        text = self._asked(("squeue", "--noheader", f"--nodelist={host}", "--states=RUNNING", "--format=%A"))
        return tuple(number for number in text.split() if number != own_id)

    def _sbatch(self, spec: JobSpec, exclude: Sequence[str]) -> tuple[str, ...]:
        where, name = self._settings, comment(spec.run, spec.group)
        return (
            "sbatch",
            "--parsable",
            f"--job-name={name}",
            f"--comment={name}",
            *((f"--partition={where.partition}",) if where.partition else ()),
            "--nodes=1",
            "--exclusive",
            "--mem=0",
            *((f"--gres={where.gres}",) if where.gres else ()),
            f"--time={spec.minutes}",
            "--requeue",
            "--open-mode=append",
            f"--signal=B:TERM@{GRACE_S}",
            "--export=NIL",  # what the submitter's shell holds, tokens too, is nothing to the cluster
            f"--output={spec.log_path}",
            *((f"--nodelist={spec.host}",) if spec.host else ()),
            *((f"--exclude={','.join(exclude)}",) if exclude else ()),
            *where.options,
        )

    def _asked(self, argv: tuple[str, ...]) -> str:
        try:
            return self._run(argv)
        except CommandError as error:
            raise _down(error) from error

    def _run(self, argv: tuple[str, ...], stdin: str = "") -> str:
        login = self._settings.login
        # ssh hands one string to the other side's shell
        whole = argv if login is None else (*SSH, "--", login, shlex.join(argv))
        return self._call(whole, stdin=stdin, deadline_s=DEADLINE_S)


def comment(run: str, group: str) -> str:
    """What a job is found by."""
    return f"{PREFIX}:{run}:{group}"


def script(spec: JobSpec) -> str:
    """The batch script. It ends in `exec`: a shell that waits for the worker would eat its signals."""
    return _SCRIPT.render(
        command=shlex.join(spec.command),
        token_path=shlex.quote(str(spec.token_path)) if spec.token_path else "",
        folder=_from_home(spec.folder) if spec.folder else "",
        plan=base64.encodebytes(gzip.compress(spec.plan.encode(), mtime=0)).decode() if spec.plan else "",
    )


def _from_home(path: PurePosixPath) -> str:
    """`~/a b` as a shell expands it."""
    return f"~/{shlex.quote(str(path.relative_to('~')))}"


def _queued(line: str, run: str) -> Job | None:
    number, text, state, host, reason = (line.split(APART) + [""] * 5)[:5]
    group = _group(text, run)
    if group is None:
        return None
    return Job(id=number, group=group, state=_state(state, reason), host=host, words=f"{state} ({reason})")


def _accounted(line: str, run: str) -> Job | None:
    number, name, state, host = (line.split(APART) + [""] * 4)[:4]
    group = _group(name, run)
    if group is None:
        return None
    word = state.partition(" ")[0]  # "CANCELLED by 1000"
    return Job(
        id=number, group=group, state=_state(word, ""), host="" if "None" in host else host, words=state
    )


def _group(text: str, run: str) -> str | None:
    head = comment(run, "")
    return text.removeprefix(head) if text.startswith(head) else None


def _sorted(jobs: object) -> tuple[Job, ...]:
    return tuple(sorted(jobs, key=lambda job: int(job.id)))  # type: ignore[call-overload]


def _state(word: str, reason: str) -> JobState:
    if word == "PENDING" and any(held in reason for held in ("JobHeld", "held")):
        return JobState.STUCK
    if word == "PENDING" and any(gone in reason for gone in ("NodeNotAvail", "UnavailableNodes", "DOWN")):
        return JobState.UNPLACEABLE
    return _STATES.get(word, JobState.RUNNING)  # a state that we do not know is not over


_STATES = {
    "PENDING": JobState.WAITING,
    "REQUEUED": JobState.WAITING,
    "REQUEUE_HOLD": JobState.STUCK,
    "SPECIAL_EXIT": JobState.STUCK,
    "COMPLETED": JobState.DONE,
    "CANCELLED": JobState.CANCELLED,
    **dict.fromkeys(
        ("BOOT_FAIL", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "REVOKED", "TIMEOUT"),
        JobState.LOST,
    ),
}


def _is_up(state: str) -> bool:
    """`idle`, `mixed`, `allocated`; not those that do not respond (`*`) or are drained, down, powered down."""
    return state.rstrip("+") in {"idle", "mixed", "allocated", "completing"}


def _unreachable(error: CommandError) -> bool:
    signs = ("Unable to contact slurm controller", "Connection refused", "Socket timed out", "Zero Bytes")
    return any(sign in error.tail for sign in signs) or error.late


def _down(error: BenchError | CommandError) -> HostError:
    tail = getattr(error, "tail", "").strip()
    return HostError(
        f"Slurm does not answer: {tail or error}", hint="see `scontrol ping`; jobs go on meanwhile"
    )
