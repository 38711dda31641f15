"""What every backend's builds and profiles must render to. `python -m tests.goldens` writes the files anew;
read the diff."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from backends import load_backends
from backends.contract import (
    Accelerator,
    Backend,
    Build,
    HostTraits,
    ImageSpec,
    Launch,
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
FAMILY = "70b-4bit"  # shown besides, where an engine has to make its own form of it first


@dataclass(frozen=True, slots=True)
class Case:
    """One build of one release under one profile, on a host and with a model as they are usual for it."""

    backend: Backend
    release: Release
    build: Build
    profile: Profile
    model_id: str = ""
    finished: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "-".join(filter(None, (self.stem, self.profile.value, self.model_id)))

    @property
    def stem(self) -> str:
        return f"{self.backend.name}-{self.release.id}-{self.build.accelerator.value}"

    @property
    def host(self) -> HostTraits:
        return HOSTS[self.build.accelerator]

    @property
    def model(self) -> ModelTraits:
        return loader.model(self.model_id or MODELS[self.build.accelerator]).traits

    @property
    def setup(self) -> Setup:
        return Setup(
            build=self.build, model=self.model, profile=self.profile, host=self.host, finished=self.finished
        )

    @property
    def serve(self) -> ServeSpec:
        return self.backend.serve(self.setup)

    @property
    def steps(self) -> tuple[StepSpec, ...]:
        return self.backend.steps(self.setup)

    def dockerfile(self) -> str:
        return render(self.backend.image(self.build), base=self.build.base)

    def argv(self) -> str:
        steps = [{"id": step.id, **command(step)} for step in self.steps]
        return json.dumps({**({"steps": steps} if steps else {}), **command(self.serve)}, indent=2) + "\n"


def command(launch: Launch) -> dict[str, object]:
    """What is run, with its files line by line."""
    files = {file.path: file.text.splitlines() for file in launch.files}
    return {"argv": launch.argv, "env": launch.env, **({"files": files} if files else {})}


def cases() -> Iterator[Case]:
    for backend in load_backends().values():
        for release in backend.releases:
            for build in release.builds:
                for profile in release.profiles:
                    yield Case(backend, release, build, profile)


def own_forms() -> Iterator[Case]:
    """What engines have to make of the family's model, where they can and must. What is too large for this
    host to quantise came from another."""
    for case in CASES:
        if case.build.accelerator is Accelerator.CUDA:
            for model in loader.choices(FAMILY):
                own = replace(case, model_id=model.id, finished=("quantize",))
                if case.backend.supports(own.setup) is None and own.steps:
                    yield own


def step_images() -> dict[str, ImageSpec]:
    """Images that steps bring along, by name and release."""
    steps = (step for case in (*CASES, *OWN_FORMS) for step in case.steps)
    return {f"{step.image.name}-{step.image.release}": step.image for step in steps if step.image is not None}


CASES = tuple(cases())
OWN_FORMS = tuple(own_forms())
STEP_IMAGES = step_images()


def texts() -> dict[str, Callable[[], str]]:
    """File name -> what it must hold."""
    found: dict[str, Callable[[], str]] = {f"{case.stem}.Dockerfile": case.dockerfile for case in CASES}
    found |= {
        f"{name}.Dockerfile": partial(render, image, base=image.build.base)
        for name, image in STEP_IMAGES.items()
    }
    return found | {f"{case}.argv.json": partial(Case.argv, case) for case in (*CASES, *OWN_FORMS)}


def written() -> set[str]:
    return {p.name for pattern in ("*.Dockerfile", "*.argv.json") for p in FOLDER.glob(pattern)}


if __name__ == "__main__":
    for stale in written() - texts().keys():
        (FOLDER / stale).unlink()
    for name, text in texts().items():
        (FOLDER / name).write_text(text(), "utf-8")
