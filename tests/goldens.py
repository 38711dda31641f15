"""What every backend's builds, models and profiles must render to. `python -m tests.goldens` writes the files anew;
read the diff. The generated part of docs/backends.md goes with them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

from backends import load_backends, load_layers
from backends.contract import (
    Accelerator,
    Backend,
    Build,
    HostTraits,
    ImageSpec,
    ModelTraits,
    Profile,
    Release,
    ServeSpec,
    Setup,
    StepSpec,
)
from orchestrator import planning
from orchestrator.catalog import loader
from orchestrator.domain.cell import RuntimeKind
from orchestrator.domain.plan import GroupPlan
from orchestrator.planning import Request
from orchestrator.render import render
from orchestrator.report.backends import END, page

FOLDER = Path(__file__).parent / "golden"
DOCS = Path(__file__).parent.parent / "docs" / "backends.md"
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
# The usual one first; a build has the others where it serves them
MODELS = {Accelerator.CPU: ("small", "tiny-awq"), Accelerator.CUDA: ("8b", "70b-4bit")}


@dataclass(frozen=True, slots=True)
class Case:
    """One build of one release with one model under one profile, on a host as it is usual for it."""

    backend: Backend
    release: Release
    build: Build
    profile: Profile
    model: ModelTraits

    def __str__(self) -> str:
        return f"{self.stem}-{self.model.id}-{self.profile.value}"

    @property
    def stem(self) -> str:
        return f"{self.backend.name}-{self.release.id}-{self.build.accelerator.value}"

    @property
    def host(self) -> HostTraits:
        return HOSTS[self.build.accelerator]

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
        request, steps = self.backend.request(self.setup), self.backend.steps(self.setup)
        found: dict[str, object] = {"argv": self.serve.argv, "env": self.serve.env, "fields": request.fields}
        if self.serve.files:
            found["files"] = {file.path: file.text.splitlines() for file in self.serve.files}
        if steps:
            found["steps"] = {step.id: step.argv for step in steps}
        return json.dumps(found, indent=2) + "\n"


def cases() -> Iterator[Case]:
    for backend in load_backends().values():
        for release in backend.releases:
            for build in release.builds:
                for profile in release.profiles:
                    for name in MODELS[build.accelerator]:
                        yield from _served(backend, release, build, profile, name)


def _served(backend: Backend, release: Release, build: Build, profile: Profile, name: str) -> Iterator[Case]:
    """The first of the models of that name that is served there."""
    every = (Case(backend, release, build, profile, model.traits) for model in loader.choices(name))
    yield from islice((case for case in every if backend.supports(case.setup) is None), 1)


def step_images() -> dict[str, ImageSpec]:
    """Images that steps bring along, by name and release: for every model, also where another host made what
    this one is too small for."""
    found: dict[str, ImageSpec] = {}
    for case in CASES:
        for model in loader.models().values():
            setup = case.setup.model_copy(update={"model": model.traits, "finished": ("quantize",)})
            steps = () if case.backend.supports(setup) else case.backend.steps(setup)
            found |= {f"{s.image.name}-{s.image.release}": s.image for s in steps if s.image is not None}
    return found


CASES = tuple(cases())
STEP_IMAGES = step_images()


def texts() -> dict[str, Callable[[], str]]:
    """File name -> what it must hold."""
    found: dict[str, Callable[[], str]] = {f"{case.stem}.Dockerfile": case.dockerfile for case in CASES}
    for name, image in STEP_IMAGES.items():
        found[f"{name}.Dockerfile"] = partial(render, image, base=image.build.base)
    for plan in layered():
        stem = (
            f"{plan.group.backend}-{plan.group.release}-{plan.image.build.accelerator.value}-{_layer(plan)}"
        )
        found[f"{stem}.Dockerfile"] = partial(str, plan.dockerfile)
        found[f"{stem}.argv.json"] = partial(_launched, plan)
    return found | {f"{case}.argv.json": partial(Case.argv, case) for case in CASES}


def layered() -> Iterator[GroupPlan]:
    """Each release of each serving layer before an engine of packages and one that comes as an image."""
    backends = load_backends()
    every = tuple(f"{layer.name}@{r.id}" for layer in load_layers().values() for r in layer.releases)
    for backend, release, accelerator in (
        ("llama-cpp", "current", Accelerator.CPU),
        ("vllm", "2024-06", Accelerator.CUDA),
    ):
        model = MODELS[accelerator][0]
        request = Request(backends=(backend,), release=release, model=model, serving=every)
        yield from planning.plan(request, backends, HOSTS[accelerator], RuntimeKind.DOCKER).groups


def _layer(plan: GroupPlan) -> str:
    assert plan.group.serving is not None
    return plan.group.serving.id


def _launched(plan: GroupPlan) -> str:
    serve = plan.serve
    files = {file.path: file.text.splitlines() for file in serve.files}
    return json.dumps({"argv": serve.argv, "env": serve.env, "files": files}, indent=2) + "\n"


def documented() -> str:
    """docs/backends.md with its generated part made anew."""
    _, end, by_hand = DOCS.read_text("utf-8").partition(END)
    return f"{page(load_backends().values())}\n{end}{by_hand}"


def written() -> set[str]:
    return {p.name for pattern in ("*.Dockerfile", "*.argv.json") for p in FOLDER.glob(pattern)}


if __name__ == "__main__":
    for stale in written() - texts().keys():
        (FOLDER / stale).unlink()
    for name, text in texts().items():
        (FOLDER / name).write_text(text(), "utf-8")
    DOCS.write_text(documented(), "utf-8")
