"""`levelbench` whose only engine is a small program in a real process of its own, for tests that kill it:
<folder> <what to hang at> <words of the command>.

Hanging at "phase-began up" means: right after that line stands in the journal, for ever.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import backends
from backends.contract import Build, ReadySpec, ServeSpec, Setup, WeightsFormat
from orchestrator import invocation, nights
from orchestrator.cli import main, measuring
from orchestrator.cli import nights as commands
from orchestrator.domain.provenance import Image
from orchestrator.fleet import drive
from orchestrator.fleet import nights as fleet
from orchestrator.runtime import process
from orchestrator.runtime.process import ProcessRuntime
from orchestrator.runtime.venvs import Venv
from orchestrator.store.runs import RunFolder
from tests.fakes.backend import FakeBackend

PROGRAM = Path(__file__).with_name("stream_program.py")
FOR_EVER_S = 600.0
VENV = Venv(folder=Path(sys.prefix), image=Image(reference="venv:here", digest="sha256:0", size_bytes=1))


class StreamBackend(FakeBackend):
    """Serves with the program."""

    def serve(self, setup: Setup) -> ServeSpec:
        argv = ("python", str(PROGRAM), "{bind}", "{port}")
        return ServeSpec(argv=argv, port=1, weights=WeightsFormat.SAFETENSORS, stop_s=2.0)

    def ready(self, build: Build) -> ReadySpec:
        return ReadySpec(health_path="/health", deadline_s=60.0)


def run(folder: Path, hang: str, words: list[str]) -> None:
    known = {name: StreamBackend(name) for name in ("one", "two")}
    for module in (backends, invocation, nights, fleet, commands, measuring):
        if hasattr(module, "load_backends"):
            vars(module)["load_backends"] = lambda: known
    vars(process)["ready"] = lambda *_: VENV
    runtime = ProcessRuntime(folder / "cache", {})
    for module in (invocation, nights):
        vars(module)["choose"] = lambda *_, **__: (runtime, ())
    drive.POLL_S, drive.GRACE_S = 0.5, 2.0
    noted = RunFolder.journal

    def journal(self: RunFolder, event: str, **facts: Any) -> None:
        noted(self, event, **facts)
        what = facts.get("phase") or facts.get("cell") or ""
        if hang and f"{event} {what}".strip() == hang:
            sys.stderr.write("hanging\n")
            sys.stderr.flush()
            time.sleep(FOR_EVER_S)

    RunFolder.journal = journal  # type: ignore[method-assign]
    sys.argv = ["levelbench", "--runs", str(folder / "runs"), "--cache", str(folder / "cache"), *words]
    main()


if __name__ == "__main__":
    run(Path(sys.argv[1]), sys.argv[2], sys.argv[3:])
