"""Specs of stub engines, and the three runtimes behind one face, for tests of what runtimes have in common."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from backends.contract import (
    Accelerator,
    Build,
    ImageSpec,
    Mount,
    PackageSet,
    ServeSpec,
    Source,
    StepSpec,
    WeightsFormat,
)
from orchestrator.domain.provenance import Image
from orchestrator.errors import CellError, HostError
from orchestrator.runtime import images, venvs
from orchestrator.runtime.daemon import Daemon
from orchestrator.runtime.docker import DockerRuntime
from orchestrator.runtime.interface import Deployment, DeploymentSpec, JobSpec, Runtime
from orchestrator.runtime.process import ProcessRuntime
from tests.fakes.runtime import FakeRuntime

STUB = Path(__file__).with_name("stub_engine.py")
STUB_STEP = Path(__file__).with_name("stub_step.py")
BASE = os.environ.get("LEVELBENCH_BASE_IMAGE", "levelbench-base:bookworm")
DOCKER_REQUIRED = os.environ.get("LEVELBENCH_REQUIRE_DOCKER") == "1"
PIP_OFFLINE = {"PATH": os.environ["PATH"], "PIP_NO_INDEX": "1"}


def build(**changes: Any) -> Build:
    values: dict[str, Any] = {
        "release": "current",
        "accelerator": Accelerator.CPU,
        "version": "stub 1",
        "base": BASE,
        "install_bytes": 1,
        "source": Source(text="tests"),
    }
    return Build(**{**values, **changes})


def image_spec(the_build: Build | None = None, template: str = "lmdeploy.Dockerfile.j2") -> ImageSpec:
    return ImageSpec(name="stub", release="current", template=template, build=the_build or build())


def lock(monkeypatch: pytest.MonkeyPatch, folder: Path, text: str, name: str = "stub.txt") -> PackageSet:
    """A lock file of that text, where the runtimes look for lock files."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text)
    monkeypatch.setattr(venvs, "LOCKS", folder)
    return PackageSet(lock=name)


def serve(mode: str = "serve", **changes: Any) -> ServeSpec:
    values: dict[str, Any] = {
        "argv": ("python3", "{model}/stub_engine.py", mode, "{bind}", "{port}"),
        "port": 8000,
        "weights": WeightsFormat.GGUF,
        "stop_s": 2.0,
        "env": {"STUB_CACHE": f"{Mount.CACHE.value}/stub"},
    }
    return ServeSpec(**{**values, **changes})


def step(mode: str = "work", *words: str, **changes: Any) -> StepSpec:
    values: dict[str, Any] = {
        "id": "build",
        "title": "build what the stub builds",
        "argv": ("python3", "{model}/stub_step.py", "{out}", mode, *words),
        "produces": ("*.bin",),
        "deadline_s": 60.0,
        "output_bytes": 1,
    }
    return StepSpec(**{**values, **changes})


def job_spec(folder: Path, image: Image, the_step: StepSpec, **changes: Any) -> JobSpec:
    """With the stub in its weights folder, an output folder that anybody may write, and a name of its own."""
    weights_dir, name = folder / "weights", f"levelbench-test-{uuid.uuid4().hex[:8]}"
    out_dir = folder / name
    for path in (weights_dir, out_dir):
        path.mkdir(exist_ok=True)
    weights_dir.chmod(0o755)
    out_dir.chmod(0o777)
    shutil.copy(STUB_STEP, weights_dir)
    values: dict[str, Any] = {
        "name": name,
        "image": image,
        "step": the_step,
        "model_folder": "stub",
        "weights_dir": weights_dir,
        "out_dir": out_dir,
        "log_path": folder / f"{name}.log",
    }
    return JobSpec(**{**values, **changes})


def deployment_spec(
    folder: Path, image: Image, the_serve: ServeSpec | None = None, cpus: tuple[int, ...] = ()
) -> DeploymentSpec:
    """With the stub in its weights folder, readable for whoever runs it, and a name that nobody else has."""
    weights_dir = folder / "weights"
    weights_dir.mkdir(mode=0o755, exist_ok=True)
    shutil.copy(STUB, weights_dir)
    name = f"levelbench-test-{uuid.uuid4().hex[:8]}"
    return DeploymentSpec(
        name=name,
        image=image,
        serve=the_serve or serve(),
        model_folder="stub",
        weights_dir=weights_dir,
        log_path=folder / f"{name}.log",
        cpus=cpus,
    )


def allowed_cpus() -> set[int]:
    return os.sched_getaffinity(0)


def empty_venv(folder: Path) -> None:
    """What `python -m venv --without-pip` makes, in a tenth of the time."""
    subprocess.run((sys.executable, "-m", "venv", "--without-pip", str(folder)), check=True, timeout=60)


@dataclass
class Bench:
    """A runtime with its image, and what is to be taken down after the test."""

    runtime: Runtime
    image: Image
    folder: Path
    kill: Callable[[Deployment], object]
    live: list[Deployment] = field(default_factory=list)

    def up(self, the_serve: ServeSpec | None = None, cpus: tuple[int, ...] = ()) -> Deployment:
        deployment = self.runtime.up(deployment_spec(self.folder, self.image, the_serve, cpus))
        self.live.append(deployment)
        return deployment

    def serving(self, the_serve: ServeSpec | None = None, cpus: tuple[int, ...] = ()) -> Deployment:
        deployment = self.up(the_serve, cpus)
        wait_for(lambda: answers(deployment))
        return deployment

    def job(self, the_step: StepSpec | None = None, **changes: Any) -> JobSpec:
        return job_spec(self.folder, self.image, the_step or step(), **changes)

    def close(self) -> None:
        for deployment in self.live:
            self.runtime.down(deployment)
        if isinstance(self.runtime, DockerRuntime):
            self.runtime.close()


def fake(folder: Path) -> Bench:
    runtime = FakeRuntime(log="stub engine starts\nstub engine's last words\n")
    return Bench(runtime, runtime.image(image_spec(), print), folder, lambda _: None)


def process(folder: Path, monkeypatch: pytest.MonkeyPatch, venv: Path) -> Bench:
    """With the one venv of the whole test session, since making one takes seconds."""
    image = Image(reference=f"venv:{venv.name}", digest="sha256:0", size_bytes=1)
    monkeypatch.setattr("orchestrator.runtime.process.ready", lambda *_: venvs.Venv(folder=venv, image=image))
    runtime = ProcessRuntime(folder, PIP_OFFLINE)
    runtime.image(image_spec(), print)
    return Bench(runtime, image, folder, lambda d: os.kill(int(d.handle), signal.SIGKILL))


def docker(folder: Path) -> Bench:
    runtime = DockerRuntime(Daemon(), folder, PIP_OFFLINE, BASE)
    try:
        image = runtime.image(image_spec(), print)
    except (CellError, HostError) as error:  # no daemon, or no base image
        if DOCKER_REQUIRED:
            raise
        pytest.skip(f"{error} ({error.hint})")
    return Bench(runtime, image, folder, lambda d: runtime.client.containers.get(d.handle).kill())


def base_image_here() -> bool:
    with suppress(HostError):
        client = Daemon().client()
        try:
            return images.find(client, BASE) is not None
        finally:
            client.close()
    return False


def get(deployment: Deployment, path: str = "/health") -> str:
    with urllib.request.urlopen(deployment.url + path, timeout=5) as answer:  # noqa: S310 - http of our own
        return str(answer.read().decode())


def answers(deployment: Deployment) -> bool:
    with suppress(OSError):
        get(deployment)
        return True
    return False


def wait_for(done: Callable[[], object], timeout_s: float = 20.0) -> None:
    until_s = time.monotonic() + timeout_s
    while not done():
        assert time.monotonic() < until_s, "what was waited for did not happen"
        time.sleep(0.02)


def environment(**more: str) -> Mapping[str, str]:
    return {**PIP_OFFLINE, **more}
