"""One other host: the same command is run there, from the same checkout, beside engine and GPU; its results are
brought back. Measuring from here would time the network, and read our own GPU."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from types import FrameType

from orchestrator.console import Console
from orchestrator.fleet import shipping
from orchestrator.runtime import ssh
from orchestrator.runtime.command import CommandError
from orchestrator.store import files
from orchestrator.store.runs import LATEST


def run(host: str, root: Path, runs_dir: Path, words: Sequence[str], console: Console) -> int:
    """Ship levelbench, run `levelbench <words>` there with its output here, bring the new runs back; its exit code.
    An interrupt tears down there first."""
    with console.phase(f"levelbench to {host}"):
        there = shipping.ship(host, root)
    with console.phase(f"install on {host}"):
        shipping.install(host, there)
    before = set(_runs(host, there))
    # from the checkout, so that the files in it are found by the names that they have here
    start = ("sh", "-c", 'cd "$1" && shift && exec .venv/bin/levelbench "$@"', "levelbench", str(there))
    held = ssh.Held(host, (*start, "--runs", f"{there}/runs", *words))
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


def _runs(host: str, there: PurePosixPath) -> tuple[str, ...]:
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
