"""One other host: the same command is run there, from the same checkout, beside engine and GPU; its results are
brought back. Measuring from here would time the network, and read our own GPU."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from orchestrator.console import Console
from orchestrator.errors import HostError
from orchestrator.runtime import ssh
from orchestrator.runtime.command import CommandError
from orchestrator.store import files
from orchestrator.store.runs import LATEST

FOLDER = ".cache/levelbench/checkout"  # of the home folder there
LEFT_OUT = (
    ".venv",
    ".venv-*",
    "runs",
    "__pycache__",
    ".mypy_cache",
    ".ruff_cache",
    ".pytest_cache",
    ".hypothesis",
)
INSTALL_S = 900.0


def run(host: str, root: Path, runs_dir: Path, words: Sequence[str], console: Console) -> int:
    """Ship the checkout, run `levelbench <words>` there with its output here, bring the new runs back; its exit code.
    An interrupt tears down there first."""
    home = ssh.asked(host, ("sh", "-c", "cd && mkdir -p " + FOLDER + " && pwd")).strip()
    there = f"{home}/{FOLDER}"
    with console.phase(f"checkout to {host}"):
        ssh.copied(f"{root}/", f"{host}:{there}/", "--delete", *(f"--exclude=/{name}" for name in LEFT_OUT))
    with console.phase(f"install on {host}"):
        _installed(host, there)
    before = set(_runs(host, there))
    held = ssh.Held(host, (f"{there}/.venv/bin/levelbench", "--runs", f"{there}/runs", *words))
    with _interrupts(held.let_go, console):
        code = held.wait()
    if code == ssh.UNREACHED:
        console.say(f"the line to {host} broke: levelbench there ends its engine by itself", "yellow")
    for name in [name for name in _runs(host, there) if name not in before]:
        bring(host, f"{there}/runs/{name}", runs_dir, name)
        console.say(f"run {name} was brought to {runs_dir / name}")
    return code


def bring(host: str, there: str, runs_dir: Path, name: str) -> None:
    """A run from another host, whole, as the latest one here."""
    files.make_folder(runs_dir)
    ssh.copied(f"{host}:{there}/", f"{runs_dir / name}/")
    files.point_link(runs_dir / LATEST, name)


def _installed(host: str, there: str) -> None:
    try:
        ssh.asked(host, ("make", "--silent", "-C", there, ".venv/.ready"), deadline_s=INSTALL_S)
    except CommandError as error:
        raise HostError(
            f"levelbench cannot be installed on {host}: {error.tail.strip() or error}",
            hint="it needs make and Python 3.10 or newer with venv there",
        ) from error


def _runs(host: str, there: str) -> tuple[str, ...]:
    """Names of the runs there, in the order of time."""
    with suppress(CommandError):
        text = ssh.asked(host, ("sh", "-c", f"ls -1 {there}/runs 2>/dev/null || true"))
        return tuple(name for name in text.split() if name != LATEST)
    return ()


@contextmanager
def _interrupts(let_go: Callable[[], None], console: Console) -> Iterator[None]:
    def handle(_number: int, _frame: FrameType | None) -> None:
        console.say("interrupted: waiting for the teardown there", "bold yellow")
        let_go()

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
