"""A runtime without engine: `up` starts the fake HTTP engine, and every call is written down in order."""

from __future__ import annotations

import os
from collections.abc import Callable

from backends.contract import ImageSpec
from orchestrator.domain.cell import RuntimeKind
from orchestrator.domain.provenance import Image
from orchestrator.domain.shelf import Shelved
from orchestrator.domain.telemetry import Usage
from orchestrator.runtime.interface import (
    Deployment,
    DeploymentSpec,
    JobEnd,
    JobSpec,
    Progress,
    Rendered,
    State,
)
from tests.fakes.engine import Answer, FakeEngine, steady

ALIVE = State(running=True)


class FakeRuntime:
    """Implements Runtime. `states` are told in turn, the last one for ever; `on_state` hears the number
    of each question; `fail` maps a verb's name to the exception that it raises. What was taken down does
    not run. `jobs` says by a step's id how it ends, which is well by default; `posts` is the engine's."""

    kind = RuntimeKind.PROCESS
    version = "fake 1"

    def __init__(
        self,
        answer: Answer | None = None,
        *,
        states: list[State] | None = None,
        on_state: Callable[[int], object] = lambda _: None,
        fail: dict[str, BaseException] | None = None,
        served_name: str = "tiny",
        log: str = "",
        gets: dict[str, tuple[int, str]] | None = None,
    ) -> None:
        self._answer = answer or steady()
        self._states = states or [ALIVE]
        self._on_state = on_state
        self._fail = fail or {}
        self._served_name = served_name
        self._log = log
        self._gets = gets or {}
        self.jobs: dict[str, JobEnd] = {}
        self.posts: dict[str, int] = {}
        self.shelf: list[Shelved] = []
        self.in_use: set[str] = set()
        self.deployed: list[DeploymentSpec] = []
        self._engines: dict[str, FakeEngine] = {}
        self._ended: set[str] = set()
        self._asked = 0
        self.calls: list[str] = []

    def image(self, spec: ImageSpec, progress: Progress) -> Image:
        self._call("image")
        progress("fake image")
        return Image(reference="fake", digest="sha256:0", size_bytes=1)

    def shelved(self) -> tuple[Shelved, ...]:
        return tuple(self.shelf)

    def discard(self, name: str) -> bool:
        """Gone, unless it is said to be in use."""
        self._call(f"discard {name}")
        if name in self.in_use:
            return False
        self.shelf = [one for one in self.shelf if one.name != name]
        return True

    def rendered(self, spec: DeploymentSpec) -> Rendered:
        return Rendered(spec.serve.argv, spec.serve.env)

    def up(self, spec: DeploymentSpec) -> Deployment:
        self._call("up")
        models = {"/v1/models": (200, f'{{"data":[{{"id":"{self._served_name}"}}]}}')}
        self.deployed.append(spec)
        engine = FakeEngine(self._answer, gets={**models, **self._gets}, posts=self.posts).__enter__()
        self._engines[spec.name] = engine
        spec.log_path.write_text(self._log)
        return Deployment(
            name=spec.name,
            handle="fake",
            host="127.0.0.1",
            port=engine.port,
            argv=spec.serve.argv,
            env=spec.serve.env,
            log_path=spec.log_path,
            stop_s=0.0,
            runtime=self.kind,
        )

    def state(self, deployment: Deployment) -> State:
        self._asked += 1
        self._on_state(self._asked)
        if deployment.name in self._ended:
            return State(running=False)
        return self._states[min(self._asked, len(self._states)) - 1]

    def usage(self, deployment: Deployment) -> Usage | None:
        if deployment.name in self._ended:
            return None
        return Usage(cpu_s=float(self._asked), memory_bytes=2**20, processes=1)

    def pids(self, deployment: Deployment) -> frozenset[int] | None:
        return frozenset() if deployment.name in self._ended else frozenset({os.getpid()})

    def down(self, deployment: Deployment) -> None:
        engine = self._engines.pop(deployment.name, None)
        if engine is not None:
            engine.__exit__(None, None, None)
            self._ended.add(deployment.name)
        self._call("down")

    def run(self, spec: JobSpec, on_line: Progress, watch: Callable[[], None]) -> JobEnd:
        """As a step that works: a file for each glob, two lines in its log."""
        self._call(f"run {spec.step.id}")
        log = "stub step starts\n100 %"
        spec.log_path.write_text(log)
        on_line(log.splitlines()[-1])
        watch()
        for pattern in spec.step.produces:
            (spec.out_dir / pattern.replace("*", "engine")).write_bytes(b"engine")
        return self.jobs.get(spec.step.id, JobEnd(State(running=False, exit_code=0), 1.5, 2**20))

    def reap(self, *, dry_run: bool = False) -> tuple[str, ...]:
        if not dry_run:
            self._call("reap")
        return ()

    def close(self) -> None:
        """Nothing is held open."""

    def _call(self, verb: str) -> None:
        self.calls.append(verb)
        if verb in self._fail:
            raise self._fail[verb]
