"""A run whose hosts, login node and driver do not share one folder: the plan goes out, attempts come back.

With `results`, the hosts and the login node share a folder that this machine does not see: rsync over ssh brings it.
With `push`, the hosts share nothing: a job carries its own part of the plan, and its worker sends the attempt to a
host that it names, and publishes it there, where link(2) lets the first one win.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeVar

from orchestrator.domain.plan import GroupPlan
from orchestrator.errors import HostError, RequestError
from orchestrator.fleet import publishing
from orchestrator.fleet.publishing import ATTEMPTS, GROUPS, Attempt, Published
from orchestrator.runtime import ssh
from orchestrator.runtime.command import CommandError
from orchestrator.store.runs import RUN, RunFolder

HOME = PurePosixPath("~/.cache/levelbench/fleet")  # on a host that shares no folder
LOGS = PurePosixPath("/tmp")  # noqa: S108 - a log file's name with the run's, made by Slurm
JOBS = "jobs"
TRIES = 5
APART_S = 30.0
NOTES = (
    f"--include=/{ATTEMPTS}/",
    f"--include=/{ATTEMPTS}/*/",
    f"--include=/{ATTEMPTS}/*/*.json",
    f"--include=/{GROUPS}/",
    f"--include=/{GROUPS}/*.json",
    "--exclude=*",
)
# Arguments: draft, place, text. A second try after a lost answer finds its own text. 3: it could not be written.
_PUBLISH = (
    'mkdir -p "${2%/*}" && printf %s "$3" >"$1" && sync "$1" || exit 3; '
    'ln "$1" "$2" 2>/dev/null || cmp -s "$1" "$2"; end=$?; [ -e "$2" ] || end=3; rm -f "$1"; exit $end'
)
WAS_SECOND = 1

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Paths:
    """One run's folder as each side calls it. `results` is a folder for runs on the login node, `push` a host as the
    hosts' ssh knows it."""

    here: Path
    login: str | None = None
    results: PurePosixPath | None = None
    push: str | None = None

    @property
    def there(self) -> PurePosixPath:
        """Where results are published."""
        return PurePosixPath(self.here) if self.results is None else self.results / self.here.name

    def words(self, group: str) -> tuple[str, ...]:
        """Of run-group: the run, the group, and where results go."""
        if self.push is None:
            return (str(self.there), group)
        return (str(self.on_host(group)), group, "--push", f"{self.push}:{self.there}")

    def on_host(self, group: str) -> PurePosixPath:
        """The run's folder on a host that shares none."""
        return HOME / group / self.here.name

    def log_path(self, group: str) -> PurePosixPath:
        """Of a job; %j is its number."""
        if self.push is None:
            return self.there / JOBS / f"{group}.log"
        return LOGS / f"levelbench-{self.here.name}-{group}-%j.log"

    def send(self) -> None:
        """Make the folder that hosts see, with the plan in it."""
        if self.login is None or self.results is None:
            (self.here / JOBS).mkdir(exist_ok=True)
            return
        _asked(self.login, ("mkdir", "-p", str(self.there / JOBS)))
        ssh.copied(str(self.here / RUN), f"{self.login}:{self.there}/")

    def bring(self, collected: frozenset[str]) -> None:
        """What was published and is not `collected` yet, and which attempts there are. HostError where the login node is
        away: nothing is decided then."""
        if self.login is None or self.results is None:
            return
        ssh.copied(f"{self.login}:{self.there}/", f"{self.here}/", *NOTES)
        for group, done in publishing.published(self.here).items():
            if group not in collected:
                folder = publishing.attempt_folder(self.here, group, done.attempt.id)
                there = self.there / folder.relative_to(self.here)
                ssh.copied(f"{self.login}:{there}/", f"{folder}/")

    def bring_all(self) -> None:
        """Every attempt's raw data and the jobs' logs."""
        if self.login is not None and self.results is not None:
            ssh.copied(f"{self.login}:{self.there}/", f"{self.here}/", f"--exclude=/{RUN}")


def carried(folder: RunFolder, group: GroupPlan) -> str:
    """The run as one host needs it: run.json with this group alone."""
    plan = folder.plan().model_copy(update={"groups": (group,)})
    cells = [cell.id for cell in group.group.cells]
    head = folder.head() | {"run": folder.id, "plan": plan.model_dump(mode="json"), "cells": cells}
    return json.dumps(head)


@dataclass(frozen=True, slots=True)
class Pushed:
    """`HOST:FOLDER`, where an attempt is sent."""

    host: str
    folder: PurePosixPath
    sleep: Callable[[float], None] = time.sleep

    @classmethod
    def of(cls, text: str) -> Pushed:
        """RequestError for what is no such place."""
        host, _, folder = text.partition(":")
        if not folder.startswith("/"):
            raise RequestError(f"{text!r} is no place for results", hint="HOST:/FOLDER, as for rsync")
        return cls(ssh.checked(host), PurePosixPath(folder))

    def begin(self, run: Path, path: Path) -> None:
        """Tell that an attempt began; it shows too, before hours are spent, that results can be sent."""
        note = path.with_name(f"{path.name}.json")
        there = self.folder / note.relative_to(run)
        _asked(self.host, ("mkdir", "-p", str(there.parent)))
        ssh.copied(str(note), f"{self.host}:{there}")

    def publish(self, run: Path, path: Path, done: Published) -> bool:
        """Send the attempt whole, then make it the one that counts; False if another one was first."""
        there = self.folder / path.relative_to(run)
        self._surely(lambda: ssh.copied(f"{path}/", f"{self.host}:{there}/"))
        place = self.folder / GROUPS / f"{done.attempt.group}.json"
        draft = place.with_name(f".{done.attempt.group}.{done.attempt.id}")
        words = ("sh", "-c", _PUBLISH, "publish", str(draft), str(place), done.model_dump_json())
        return self._surely(lambda: self._published(words))

    def winner(self, group: str) -> Attempt:
        """Whose results count."""
        place = self.folder / GROUPS / f"{group}.json"
        return Published.model_validate_json(_asked(self.host, ("cat", str(place)))).attempt

    def _published(self, words: tuple[str, ...]) -> bool:
        try:
            ssh.asked(self.host, words)
        except CommandError as error:
            if error.exit_code == WAS_SECOND:
                return False
            raise HostError(
                f"cannot publish on {self.host}: {error.tail.strip() or error}",
                hint=f"{self.folder} there must be writable, on a file system with hard links",
            ) from error
        return True

    def _surely(self, do: Callable[[], T]) -> T:
        """Hours were spent on it: a network that is away for two minutes does not lose it."""
        for _ in range(TRIES - 1):
            with suppress(HostError):
                return do()
            self.sleep(APART_S)
        return do()


def _asked(host: str, argv: tuple[str, ...]) -> str:
    try:
        return ssh.asked(host, argv)
    except CommandError as error:
        raise HostError(
            f"{host} does not do `{' '.join(argv)}`: {error.tail.strip() or error}",
            hint="is the folder for results writable there?",
        ) from error
