"""A night that things happen to, and what must hold after whatever happened."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker
import psutil
import pytest

from backends.contract import Value
from orchestrator.domain.provenance import Image
from orchestrator.domain.result import Result
from orchestrator.report.records import State
from orchestrator.runtime import owner
from orchestrator.store.runs import RunFolder
from tests.chaos import engine
from tests.fakes.nvml import SCRIPT_VARIABLE
from tests.runtime.made import BASE, wait_for

ROOT = Path(__file__).resolve().parents[2]
IN_TIME_S = 150.0
SCRIPT = "script.json"
HELD = "held"
LIVE = "live"
AWAY = "daemon-away"
IN_IMAGE = "/chaos"
REPOSITORY = "levelbench-test/chaos-engine"
HEALTHY = ("one", "two")
TROUBLED = (engine.DEAF, engine.SILENT, engine.KILLED, engine.QUITTER, engine.GLUTTON, engine.BUSY)
ENGINES = (*HEALTHY, *TROUBLED)
_PROGRAM = ("tests/fakes/stream_program.py", "tests/chaos/engine.py")
_PACKAGES = ("tests", "tests/fakes", "tests/chaos")
WORKLOAD = """
[blink]
title = "as short as can be"
users = [1, 2]
ramp_s = 0.2
duration_s = 0.6
window_s = 0.2
warmup_requests = 1
stall_s = 2.0
cuts_answers = true
prompts = { source = "own" }
sampling = { max_tokens = 4 }
"""


class Happening(Value):
    """What happens at an event of an engine's group, in a phase of it: the driver's stub is given another script, the
    engine a trouble, the host's clock is set, the program holds its breath until a line comes. Each once."""

    event: str
    name: str = ""
    phase: str = ""
    nvml: tuple[str, ...] | None = None
    trouble: str | None = None
    clock_step_ns: int = 0
    hold: bool = False


class Script(Value):
    """For one start of the program."""

    image: dict[str, Any]
    cache: str
    memory_limit: str = ""
    happenings: tuple[Happening, ...] = ()


def build(client: docker.DockerClient) -> Image:
    """The engine's program on the base image. Times are constant: an equal program is an equal image."""
    files = {path: (ROOT / path).read_bytes() for path in _PROGRAM}
    files |= {f"{path}/__init__.py": b"" for path in _PACKAGES}
    files["Dockerfile"] = f"FROM {BASE}\nCOPY tests {IN_IMAGE}/tests\n".encode()
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as archive:
        for name, content in sorted(files.items()):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o755
            archive.addfile(entry, io.BytesIO(content))
    held.seek(0)
    image, _ = client.images.build(fileobj=held, custom_context=True, tag=REPOSITORY, rm=True)
    return Image(reference=REPOSITORY, digest=str(image.id), size_bytes=int(image.attrs["Size"]))


@dataclass
class Ended:
    """How a program ended."""

    code: int
    output: str


@dataclass
class Night:
    """`levelbench matrix` in a folder of its own, on a daemon that may be its own too. `within` are words before its
    command, `session_ids` those of the programs that were started."""

    folder: Path
    image: Image
    cache_dir: Path
    nvml_path: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    within: tuple[str, ...] = ()
    session_ids: list[int] = field(default_factory=list)

    def write(
        self,
        engines: Sequence[str],
        users: Sequence[int] = (1,),
        duration_s: float = 0.6,
        more: str = "",
    ) -> None:
        (self.folder / "blink.toml").write_text(WORKLOAD)
        (self.folder / "matrix.toml").write_text(
            f'title = "chaos"\nseed = 1\nruntime = "docker"\n\n[axes]\nbackend = {_toml(engines)}\nmodel = "tiny"\n'
            f'workload = "blink.toml"\naccelerator = "cuda"\nusers = {list(users)}\nduration_s = {duration_s}\n{more}'
        )
        (self.folder / "nvml").write_text("")

    def start(
        self, *words: str, happenings: Sequence[Happening] = (), memory_limit: str = ""
    ) -> subprocess.Popen[str]:
        script = Script(
            image=self.image.model_dump(),
            cache=str(self.cache_dir),
            memory_limit=memory_limit,
            happenings=tuple(happenings),
        )
        (self.folder / SCRIPT).write_text(script.model_dump_json())
        program = subprocess.Popen(
            [
                *(*self.within, sys.executable, "-m", "tests.chaos.program", str(self.folder)),
                *(words or ("matrix", str(self.folder / "matrix.toml"))),
            ],
            cwd=ROOT,
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "LEVELBENCH_LOCK": str(self.folder / "host.lock"),
                "LD_LIBRARY_PATH": str(self.nvml_path.parent),
                SCRIPT_VARIABLE: str(self.folder / "nvml"),
                **self.environment,
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.session_ids.append(program.pid)
        return program

    def run(self, *words: str, happenings: Sequence[Happening] = (), memory_limit: str = "") -> Ended:
        with self.start(*words, happenings=happenings, memory_limit=memory_limit) as program:
            output = program.communicate(timeout=IN_TIME_S)[0]
        return Ended(program.returncode, output)

    def resume(self) -> Ended:
        return self.run("resume", self.run_folder.id)

    @contextmanager
    def held(self, at: Happening, *words: str, also: Sequence[Happening] = ()) -> Iterator[Reading]:
        """A program that has come to that event and waits there."""
        hold = at.model_copy(update={"hold": True})
        with self.start(*words, happenings=(hold, *also)) as program:
            try:
                held = Reading(program)
                held.read_until(HELD)
                yield held
            finally:
                if program.poll() is None:
                    program.kill()

    @property
    def due_engine(self) -> str:
        """Of a night that was cut short, the engine that comes next."""
        done = [e["group"] for e in self.events("group-ended")]
        return next(n for n in HEALTHY if not any(group.startswith(n) for group in done))

    def killed(self, at: Happening, *words: str) -> None:
        """SIGKILL of the orchestrator alone, right after that event."""
        with self.held(at, *words) as held:
            held.program.send_signal(signal.SIGKILL)

    @property
    def run_folder(self) -> RunFolder:
        (path,) = (p for p in (self.folder / "runs").iterdir() if p.is_dir() and not p.is_symlink())
        return RunFolder.open(path)

    def sealed(self) -> dict[str, bytes]:
        """Every result that is written, byte for byte."""
        return {p.parent.name: p.read_bytes() for p in self.run_folder.path.glob("cells/*/result.json")}

    def events(self, name: str) -> list[dict[str, Any]]:
        return [e for e in self.run_folder.read_journal().entries if e["event"] == name]

    def result(self, name: str, load: str = "u1") -> Result:
        (path,) = self.run_folder.path.glob(f"cells/{name}-*-{load}")
        stored = self.run_folder.cell(path.name).stored()
        assert stored.result is not None, stored.reason
        return stored.result

    def results(self) -> list[Result]:
        return [stored.result for stored in self.run_folder.results() if stored.result is not None]

    def containers(self) -> list[str]:
        """Of the containers and networks that this night's programs made, the deployments."""
        client = docker.DockerClient(self.environment.get("DOCKER_HOST"))
        try:
            named = {"label": owner.OURS}
            found = client.containers.list(all=True, filters=named, ignore_removed=True)
            labels = [c.labels for c in found] + [
                n.attrs["Labels"] for n in client.networks.list(filters=named)
            ]
            return [x[owner.DEPLOYMENT] for x in labels if int(x[owner.PID]) in self.session_ids]
        finally:
            client.close()

    def processes(self) -> list[str]:
        """What is alive of the programs that were started: their own sessions'."""
        return [str(p) for p in psutil.process_iter() if _session_id(p) in self.session_ids]

    def require_nothing_left(self) -> None:
        """No container, no network, no process of ours."""
        assert [] == self.containers()
        wait_for(lambda: not self.processes())  # of a killed program: its client sees that its pipe is gone

    def require_intact(self, before: Mapping[str, bytes], torn: int = 0) -> None:
        """The journal can be read, and of what was finished `before` nothing was lost, altered or measured again."""
        journal = self.run_folder.read_journal()
        assert torn >= len(journal.torn), journal.torn
        assert before == {name: data for name, data in self.sealed().items() if name in before}
        began = [e["cell"] for e in journal.entries if e["event"] == "cell-began"]
        assert dict.fromkeys(before, 1) == {name: began.count(name) for name in before}
        for name in before:
            stored = self.run_folder.cell(name).stored()
            assert State.COMPLETE is stored.state, stored.reason

    def require_whole(self, cells: int) -> None:
        """The run came to its end, and every cell to figures."""
        assert self.run_folder.is_over
        assert cells == len(self.sealed())
        for stored in self.run_folder.results():
            assert stored.result is not None, stored.reason
            assert stored.result.metrics is not None, stored.result.failure
            assert stored.result.metrics.completed > 0


@dataclass
class Reading:
    """A program and what it has said so far."""

    program: subprocess.Popen[str]
    output: list[str] = field(default_factory=list)

    def read_until(self, text: str) -> None:
        assert self.program.stdout is not None
        for line in self.program.stdout:
            self.output.append(line)
            if text in line:
                return
        pytest.fail(f"it never came to {text!r}:\n{''.join(self.output)}")

    def let_go(self) -> None:
        assert self.program.stdin is not None
        self.program.stdin.write("\n")
        self.program.stdin.flush()

    def end(self) -> Ended:
        output = self.program.communicate(timeout=IN_TIME_S)[0]
        return Ended(self.program.returncode, "".join(self.output) + output)


def _toml(words: Sequence[str]) -> str:
    return "[" + ", ".join(f'"{word}"' for word in words) + "]"


def _session_id(process: psutil.Process) -> int | None:
    try:
        return None if process.status() == psutil.STATUS_ZOMBIE else os.getsid(process.pid)
    except (psutil.Error, OSError):
        return None
