"""What every backend's builds and profiles must render to. `python -m tests.goldens` writes the files anew;
read the diff."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from backends import load_backends
from backends.contract import (
    Accelerator,
    Backend,
    Build,
    HostTraits,
    ModelTraits,
    Profile,
    Release,
    ServeSpec,
    Setup,
    StepSpec,
)
from orchestrator.catalog import loader
from orchestrator.render import render

FOLDER = Path(__file__).parent / "golden"
HOSTS = {
    Accelerator.CPU: HostTraits(accelerator=Accelerator.CPU, cpus=8, memory_bytes=32 * 2**30),
    Accelerator.CUDA: HostTraits(
        accelerator=Accelerator.CUDA,
        cpus=32,
        memory_bytes=256 * 2**30,
        gpu_name="NVIDIA A100-SXM4-80GB",
        gpu_memory_bytes=80 * 2**30,
        compute_capability=(8, 0),
    ),
}
MODELS = {Accelerator.CPU: "small", Accelerator.CUDA: "8b"}


@dataclass(frozen=True, slots=True)
class Case:
    """One build of one release under one profile, on a host and with a model as they are usual for it."""

    backend: Backend
    release: Release
    build: Build
    profile: Profile

    def __str__(self) -> str:
        return f"{self.stem}-{self.profile.value}"

    @property
    def stem(self) -> str:
        return f"{self.backend.name}-{self.release.id}-{self.build.accelerator.value}"

    @property
    def host(self) -> HostTraits:
        return HOSTS[self.build.accelerator]

    @property
    def model(self) -> ModelTraits:
        return loader.model(MODELS[self.build.accelerator]).traits

    @property
    def setup(self) -> Setup:
        return Setup(build=self.build, model=self.model, profile=self.profile, host=self.host)

    @property
    def serve(self) -> ServeSpec:
        return self.backend.serve(self.setup)

    @property
    def steps(self) -> tuple[StepSpec, ...]:
        return self.backend.steps(self.setup)

    def dockerfile(self) -> str:
        return render(self.backend.image(self.build), base=self.build.base)

    def argv(self) -> str:
        found = {"argv": self.serve.argv, "env": self.serve.env}
        return json.dumps(found, indent=2) + "\n"


def cases() -> Iterator[Case]:
    for backend in load_backends().values():
        for release in backend.releases:
            for build in release.builds:
                for profile in release.profiles:
                    yield Case(backend, release, build, profile)


CASES = tuple(cases())


def texts() -> dict[str, Callable[[], str]]:
    """File name -> what it must hold."""
    found: dict[str, Callable[[], str]] = {f"{case.stem}.Dockerfile": case.dockerfile for case in CASES}
    return found | {f"{case}.argv.json": partial(Case.argv, case) for case in CASES}


def written() -> set[str]:
    return {p.name for pattern in ("*.Dockerfile", "*.argv.json") for p in FOLDER.glob(pattern)}


if __name__ == "__main__":
    for stale in written() - texts().keys():
        (FOLDER / stale).unlink()
    for name, text in texts().items():
        (FOLDER / name).write_text(text(), "utf-8")
