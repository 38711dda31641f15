"""The pipelines as they are really run: each step in a container of its own, its output an artifact, the server
over what they made. The tools are stand-ins (tests/fakes/toolchain)."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from backends import load_backends
from backends.contract import Backend, ImageSpec, Profile, ServeSpec, Setup, StepSpec
from orchestrator import steps
from orchestrator.artifacts import Artifact
from orchestrator.catalog import loader
from orchestrator.domain.provenance import Image
from orchestrator.errors import CellError
from orchestrator.ready import Ladder, wait_until_ready
from orchestrator.runtime.daemon import Daemon
from orchestrator.runtime.docker import DockerRuntime
from orchestrator.runtime.interface import DeploymentSpec
from tests.backends.test_toolchain import MLC, ROOT
from tests.goldens import HOSTS
from tests.runtime import made
from tests.workshop import Bench

A100 = next(host for host in HOSTS.values() if host.gpu_memory_bytes)
pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]


@pytest.fixture(scope="session")
def toolchain(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Image]:
    """The image of a release's stand-ins, built once."""
    folder = tmp_path_factory.mktemp("toolchain")
    shutil.copytree(ROOT / "tests" / "fakes" / "toolchain", folder / "toolchain")
    shutil.copytree(ROOT / "backends" / "options", folder / "options")
    shutil.copytree(ROOT / "dockerfiles" / "context", folder / "files")

    def built(release: str) -> Image:
        tag = f"levelbench-test-toolchain:{release}"
        given = ("--build-arg", f"BASE={made.BASE}", "--build-arg", f"MLC={MLC[release]}")
        dockerfile = str(folder / "toolchain" / "Dockerfile")
        command = ["docker", "build", "-q", "-t", tag, "-f", dockerfile, *given, str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        return Image(reference=tag, digest=done.stdout.strip(), size_bytes=1)

    return built


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[DockerRuntime]:
    found = DockerRuntime(Daemon(), tmp_path, made.PIP_OFFLINE, made.BASE)
    yield found
    found.close()


def unlimited(launch: StepSpec) -> StepSpec:
    """A daemon inside a container may not lift the limit of locked memory, and stand-ins lock none."""
    return launch.model_copy(update={"ulimits": {}})


def setup(backend: Backend, release: str, model: str) -> Setup:
    found = backend.release(release)
    assert found is not None
    traits = loader.model(model).traits
    asked = Setup(build=found.builds[0], model=traits, profile=Profile.MATCHED, host=A100)
    return asked.model_copy(update={"finished": ("quantize",)})


def make(
    bench: Bench, backend: Backend, asked: Setup, image: Image, spoilt: str | None = None
) -> tuple[Artifact, dict[str, Artifact]]:
    """The weights and every step's output; `spoilt` names a step whose words are wrong."""
    own, weights = backend.image(asked.build), bench.weights(loader.model("tiny"))
    done: dict[str, Artifact] = {}
    for step in map(unlimited, backend.steps(asked)):
        images: dict[ImageSpec, Image] = {own: image, step.image or own: image}
        inputs = steps.Inputs(
            label="stand-in",
            model_folder=asked.model.folder,
            weights=weights,
            images=images,
            image=own,
            gpus=(),
            signatures=backend.failures(asked.build),
            earlier=done,
        )
        wrong = ("--no-such-option",) if step.id == spoilt else ()
        told = step.model_copy(update={"argv": (*step.argv, *wrong)})
        done = {**done, step.id: steps.output(told, inputs, bench.shop())}
    return weights, done


@pytest.mark.parametrize(
    ("name", "release", "model"),
    [
        ("tensorrt-llm", "2024-06", "8b"),
        ("tensorrt-llm", "2024-06", "70b-int4-awq"),
        ("mlc-llm", "2024-06", "8b"),
        ("mlc-llm", "current", "8b"),
    ],
)
def test_a_pipeline_ends_in_a_server(
    name: str,
    release: str,
    model: str,
    tmp_path: Path,
    toolchain: Callable[[str], Image],
    runtime: DockerRuntime,
) -> None:
    """Steps in order, made once; then the engine comes up over their folders, with the settings asked for."""
    backend, image, bench = (
        load_backends()[name],
        toolchain(release),
        Bench(tmp_path / "shop", runtime=runtime),
    )
    asked = setup(backend, release, model)
    weights, done = make(bench, backend, asked, image)
    _, again = make(bench, backend, asked, image)
    serve: ServeSpec = backend.serve(asked).model_copy(update={"ulimits": {}})
    spec = DeploymentSpec(
        name=f"levelbench-test-{name}-{release}",
        image=image,
        model_folder=asked.model.folder,
        weights_dir=weights.folder,
        log_path=tmp_path / "engine.log",
        steps={step: artifact.folder for step, artifact in done.items()},
        serve=serve,
    )
    deployment = runtime.up(spec)
    try:
        ladder = Ladder(
            spec=backend.ready(asked.build), served_name="", signatures=backend.failures(asked.build)
        )
        wait_until_ready(runtime, deployment, ladder, progress=lambda _: None)
        said = httpx.get(f"{deployment.url}{backend.ready(asked.build).health_path}", trust_env=False)
    finally:
        runtime.down(deployment)

    assert said.is_success
    assert {step.id for step in backend.steps(asked)} == set(done)
    assert all(artifact.cached for artifact in again.values())
    assert not any(artifact.cached for artifact in done.values())


def test_a_step_that_fails_leaves_what_was_made_before_it(
    tmp_path: Path, toolchain: Callable[[str], Image], runtime: DockerRuntime
) -> None:
    """Its own words say why, nothing of it looks finished, and what it read is not made again."""
    backend, image = load_backends()["tensorrt-llm"], toolchain("2024-06")
    bench, asked = Bench(tmp_path / "shop", runtime=runtime), setup(backend, "2024-06", "8b")
    with pytest.raises(CellError, match="step engine ended with 2") as caught:
        make(bench, backend, asked, image, spoilt="engine")
    _, done = make(bench, backend, asked, image)

    assert "unrecognized arguments: --no-such-option" in caught.value.log_tail
    assert {"convert": True, "engine": False} == {step: artifact.cached for step, artifact in done.items()}
