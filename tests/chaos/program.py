"""`levelbench` with engines that misbehave, in real containers, on GPUs as the stub of their driver tells them.

    python -m tests.chaos.program FOLDER WORDS...

FOLDER/script.json says which image the engines are in, and what happens when: once an event stands in the journal
("phase-began" of an engine's group and a phase), or at "live", while a load is at work. Real are the daemon, the containers, their networks, the load, the gate and NVML's own path; not there are
NVIDIA's container toolkit, which no GPU-less host has, and the build of an image, which other tests look at.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import backends
from backends.contract import Accelerator, Build, ImageSpec, ReadySpec, ServeSpec, Setup, WeightsFormat
from orchestrator import invocation, nights
from orchestrator.cli import main, measuring
from orchestrator.cli import nights as commands
from orchestrator.console import Console
from orchestrator.domain import cleanroom
from orchestrator.domain.cell import Load
from orchestrator.domain.provenance import Image
from orchestrator.fleet import nights as fleet
from orchestrator.host import preflight
from orchestrator.host.gate import Pace
from orchestrator.kit import Kit
from orchestrator.load.client import Live
from orchestrator.runtime import choice, container
from orchestrator.runtime.docker import DockerRuntime
from orchestrator.runtime.interface import Deployment, DeploymentSpec, Progress
from orchestrator.store.runs import RunFolder
from tests.chaos import engine
from tests.chaos.night import AWAY, ENGINES, HELD, IN_IMAGE, LIVE, SCRIPT, Happening, Script
from tests.fakes.backend import FakeBackend

# After a teardown that left something, nobody has to wait for two minutes to see it refused
PACE = Pace(poll_s=0.1, before_s=60.0, after_s=2.0)
READY_S, DEAF_S = 60.0, 4.0


class TroubledBackend(FakeBackend):
    """Serves with the program in the image, whose Dockerfile is rendered for the plan and not built."""

    def image(self, build: Build) -> ImageSpec:
        return super().image(build).model_copy(update={"template": "lmdeploy.Dockerfile.j2"})

    def serve(self, setup: Setup) -> ServeSpec:
        argv = ("python3", "-m", "tests.chaos.engine", "{bind}", "{port}", "{model}")
        return ServeSpec(
            argv=argv, env={"PYTHONPATH": IN_IMAGE}, port=8000, weights=WeightsFormat.SAFETENSORS, stop_s=2.0
        )

    def ready(self, build: Build) -> ReadySpec:
        return ReadySpec(health_path="/health", deadline_s=DEAF_S if self.name == engine.DEAF else READY_S)


class TroubledRuntime(DockerRuntime):
    """Its engines' image is there, and it knows where their weights are."""

    made: Image
    stage: Stage
    weights_dir: Path | None = None

    def image(self, spec: ImageSpec, progress: Progress) -> Image:
        return self.made

    def up(self, spec: DeploymentSpec) -> Deployment:
        tell(spec.weights_dir, "")
        type(self).weights_dir = spec.weights_dir
        return super().up(spec)

    def _wait_for_daemon(self) -> None:
        self.stage.at(AWAY, "", "")
        super()._wait_for_daemon()


def tell(weights_dir: Path, trouble: str) -> None:
    """Both are asked for at each request of the engine: half a word must never be read."""
    beside = weights_dir / f".{engine.TROUBLE}"
    beside.write_text(trouble)
    beside.replace(weights_dir / engine.TROUBLE)


class Stage:
    """Makes happen what stands in the script, once each."""

    def __init__(self, script: Script, folder: Path) -> None:
        self._due = list(script.happenings)
        self._folder = folder

    def at(self, event: str, group: str, phase: str) -> None:
        for due in list(self._due):
            if event == due.event and group.startswith(due.name) and phase.startswith(due.phase):
                self._due.remove(due)
                self._make(due)

    def _make(self, happening: Happening) -> None:
        if happening.nvml is not None:
            (self._folder / "nvml").write_text("".join(f"{line}\n" for line in happening.nvml))
        if happening.trouble is not None and TroubledRuntime.weights_dir is not None:
            tell(TroubledRuntime.weights_dir, happening.trouble)
        if happening.clock_step_ns:
            now_ns = time.clock_gettime_ns(time.CLOCK_REALTIME)
            time.clock_settime_ns(time.CLOCK_REALTIME, now_ns + happening.clock_step_ns)
        if happening.hold:
            sys.stdout.write(f"{HELD}\n")
            sys.stdout.flush()
            sys.stdin.readline()


def watched(stage: Stage) -> None:
    """The stage hears of each line of the journal once it is written, and of loads that are at work."""
    noted, shown = RunFolder.journal, Console.show
    group = ""

    def journal(self: RunFolder, event: str, **facts: Any) -> None:
        nonlocal group
        noted(self, event, **facts)
        group = facts.get("group", group)
        stage.at(event, group, facts.get("phase", ""))

    def show(self: Console, load: Load, total_s: float, live: Live) -> None:
        shown(self, load, total_s, live)
        stage.at(LIVE, group, "")

    RunFolder.journal = journal  # type: ignore[method-assign]
    Console.show = show  # type: ignore[method-assign]


def limited(options: Callable[..., dict[str, Any]], limit: str) -> Callable[..., dict[str, Any]]:
    """Containers that get no GPU, since there is none, and may be given little memory."""

    def found(*given: Any, **more: Any) -> dict[str, Any]:
        return {**options(*given, **more), "device_requests": [], "mem_limit": limit or None}

    return found


def run(folder: Path, words: list[str]) -> None:
    script = Script.model_validate_json((folder / SCRIPT).read_text())
    known = {name: TroubledBackend(name, accelerators=(Accelerator.CUDA,)) for name in ENGINES}
    for module in (backends, invocation, nights, fleet, commands, measuring):
        if hasattr(module, "load_backends"):
            vars(module)["load_backends"] = lambda: known
    TroubledRuntime.made = Image.model_validate(script.image)
    vars(choice)["DockerRuntime"] = TroubledRuntime
    vars(container)["options"] = limited(container.options, script.memory_limit)
    vars(preflight)["_toolkit"] = lambda *_, **__: ()
    vars(invocation)["Kit"] = partial(Kit, pace=PACE)
    cleanroom.COOLING_S = 0.0
    TroubledRuntime.stage = Stage(script, folder)
    watched(TroubledRuntime.stage)
    sys.argv = ["levelbench", "--runs", str(folder / "runs"), "--cache", script.cache, *words]
    main()


if __name__ == "__main__":
    run(Path(sys.argv[1]), sys.argv[2:])
