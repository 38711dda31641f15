"""Runs of the compiled engines whose every part is real but three: their tools are stand-ins in an image made
here, their weights are small and lie on a hub on loopback, and there is no GPU that a container could be given.

    python -m tests.pipelines_made PLAN STAND-INS HUB FOLDER

is one such run as a process of its own, which a test may kill.
"""

from __future__ import annotations

import io
import json
import resource
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from docker import DockerClient
from docker.models.containers import Container
from docker.types import Mount

from backends import load_backends
from backends.contract import Accelerator, HostTraits, ImageSpec, Profile, StepSpec
from orchestrator import bench, group, planning
from orchestrator.artifacts import Progress
from orchestrator.catalog import loader
from orchestrator.console import Console
from orchestrator.domain.cell import RuntimeKind
from orchestrator.domain.cleanroom import Wanted
from orchestrator.domain.plan import GroupPlan, Plan
from orchestrator.domain.provenance import Gpu, Host, Image
from orchestrator.domain.result import Result
from orchestrator.host.gate import Gate
from orchestrator.host.watch import GpuWatch
from orchestrator.interrupts import Interrupts
from orchestrator.kit import Kit
from orchestrator.planning import Request
from orchestrator.render import FOLDER
from orchestrator.runtime.checkout import Checkout
from orchestrator.runtime.daemon import Daemon
from orchestrator.runtime.docker import DockerRuntime
from orchestrator.runtime.interface import CommandSpec, JobSpec
from orchestrator.store.runs import RunFolder
from quantize import synthetic
from tests.fakes.hub import FakeHub
from tests.goldens import HOSTS
from tests.runtime import made

ROOT = Path(__file__).resolve().parent.parent
TOOLCHAIN = ROOT / "tests" / "fakes" / "toolchain"
MLC = {"2024-06": "0.1.dev1251", "current": "0.20.0"}
TOKEN = "hf_planted_secret"  # noqa: S105 - planted, to see that it goes nowhere
QUICK = {"ramp_s": 0.1, "duration_s": 0.6, "window_s": 0.2, "warmup_requests": 1}


def gpu(name: str, memory_gib: int, compute_capability: tuple[int, int]) -> Gpu:
    return Gpu(
        uuid=f"GPU-{name}",
        name=name,
        memory_bytes=memory_gib * 2**30,
        driver="580",
        compute_capability=compute_capability,
    )


# The article's, and one on which 141 GB of weights are quantised whole
A100, H200 = gpu("A100", 80, (8, 0)), gpu("H200", 140, (9, 0))


def traits(card: Gpu) -> HostTraits:
    return HOSTS[Accelerator.CUDA].model_copy(
        update={
            "gpu_name": card.name,
            "gpu_memory_bytes": card.memory_bytes,
            "compute_capability": card.compute_capability,
        }
    )


def plan(backend: str, release: str, model: str, *profiles: Profile, card: Gpu = A100) -> Plan:
    """What `make bench` would do, in each of the profiles, with a load of half a second."""
    groups = [
        _group(Request(backends=(backend,), release=release, model=model, profile=p), card) for p in profiles
    ]
    return Plan(groups=tuple(groups))


def _group(asked: Request, card: Gpu) -> GroupPlan:
    request = asked.model_copy(update={"workload": "short", "users": (1,)})
    (found,) = planning.plan(request, load_backends(), traits(card), RuntimeKind.DOCKER).groups
    workload = found.group.workload.model_copy(update=QUICK)
    return found.model_copy(update={"group": found.group.model_copy(update={"workload": workload})})


def with_step(made_plan: Plan, step_id: str, **changes: Any) -> Plan:
    """The plan with one step changed."""

    def changed(step: StepSpec) -> StepSpec:
        return step.model_copy(update=changes) if step.id == step_id else step

    groups = [g.model_copy(update={"steps": tuple(map(changed, g.steps))}) for g in made_plan.groups]
    return made_plan.model_copy(update={"groups": tuple(groups)})


def files_of(model_id: str) -> dict[str, bytes]:
    """A repository of the right kind: of Llama's shape, or the same as MLC converts it."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "model"
        synthetic.make("tiny", folder)
        found = {path.name: path.read_bytes() for path in folder.iterdir()}
    if loader.model(model_id).formats[0].value != "mlc":
        return found
    config = {
        "model_type": "llama",
        "quantization": "q4f16_1",
        "context_window_size": 8192,
        "model_config": {"max_batch_size": 80, "context_window_size": 8192},
    }
    index = {"metadata": {"ParamSize": 1}, "records": [{"dataPath": "params_shard_0.bin", "nbytes": 4}]}
    return {name: found[name] for name in found if name.startswith("tokenizer")} | {
        "mlc-chat-config.json": json.dumps(config).encode(),
        "ndarray-cache.json": json.dumps(index).encode(),
        "params_shard_0.bin": b"4bit",
    }


def build_stand_ins(client: DockerClient, name: str) -> dict[str, Image]:
    """By release: all tools under their names, those of MLC as old as the release is."""
    files = {f"toolchain/{path.name}": path.read_bytes() for path in TOOLCHAIN.glob("*.py")}
    files |= {f"options/{p.name}": p.read_bytes() for p in (ROOT / "backends" / "options").glob("*.json")}
    files |= {f"files/{path.name}": path.read_bytes() for path in (FOLDER / "context").glob("*.py")}
    files["Dockerfile"] = (TOOLCHAIN / "Dockerfile").read_bytes()
    found = {}
    for release, version in MLC.items():
        tag = f"levelbench-test/{name}:{release}"
        arguments = {"BASE": made.BASE, "MLC": version}
        image, _ = client.images.build(
            fileobj=_tar(files), custom_context=True, tag=tag, buildargs=arguments, rm=True, forcerm=True
        )
        found[release] = Image(reference=tag, digest=str(image.id), size_bytes=int(image.attrs["Size"]))
    return found


def _tar(files: Mapping[str, bytes]) -> io.BytesIO:
    """A build context; times are constant, so that an equal context is an equal image."""
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as archive:
        for name, content in sorted(files.items()):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o644
            archive.addfile(entry, io.BytesIO(content))
    held.seek(0)
    return held


@dataclass(frozen=True)
class Started:
    """A container that the runtime started: of which step, or `serve`, and what it was given."""

    what: str
    options: dict[str, Any]

    @property
    def mounts(self) -> dict[str, bool]:
        """Target -> whether it may be written."""
        mounts: list[Mount] = self.options["mounts"]
        return {mount["Target"]: not mount["ReadOnly"] for mount in mounts}


class StandInRuntime(DockerRuntime):
    """The real one, but each release's images are its stand-in, and what this host cannot give is left out: a
    GPU, and limits that a daemon within a container cannot raise."""

    def __init__(self, stand_ins: Mapping[str, Image], folder: Path) -> None:
        super().__init__(Daemon(), folder, made.PIP_OFFLINE, made.BASE)
        self._stand_ins = stand_ins
        self.started: list[Started] = []

    def image(self, spec: ImageSpec, progress: Progress) -> Image:
        return self._stand_ins[spec.release]

    def _start(self, spec: CommandSpec, **options: Any) -> Container:
        self.started.append(Started(spec.step.id if isinstance(spec, JobSpec) else "serve", options))
        limits = [u for u in options["ulimits"] if _granted(u["Name"], u["Hard"])]
        return super()._start(spec, **{**options, "ulimits": limits, "device_requests": []})


def _granted(name: str, value: int) -> bool:
    most = resource.getrlimit(getattr(resource, f"RLIMIT_{name.upper()}"))[1]
    return most == resource.RLIM_INFINITY or 0 <= value <= most


@dataclass(frozen=True)
class Ran:
    """One run: whether every cell has figures, what was started for it, and its folder."""

    complete: bool
    started: tuple[Started, ...]
    folder: RunFolder

    @property
    def order(self) -> list[str]:
        return [container.what for container in self.started]

    def of(self, what: str) -> Started:
        return next(container for container in self.started if container.what == what)

    @property
    def results(self) -> list[Result]:
        stored = [self.folder.cell(cell.cell_id).stored() for cell in self.folder.record().cells]
        return [cell.result for cell in stored if cell.result is not None]


@dataclass
class Rig:
    """A cache and runs in one folder; `runtime` as of the last run."""

    folder: Path
    stand_ins: Mapping[str, Image]
    hub_url: str
    screen: io.StringIO = field(default_factory=io.StringIO)

    @property
    def cache(self) -> Path:
        return self.folder / "cache"

    @property
    def run_id(self) -> str:
        """How the names of all that its runs start begin; nobody else's do."""
        return f"pipelines-{self.folder.name}"

    def run(self, made_plan: Plan, card: Gpu = A100) -> Ran:
        cells = [cell for group in made_plan.groups for cell in group.group.cells]
        stored = made_plan.model_dump(mode="json")
        folder = RunFolder.create(self.folder / "runs", self.run_id, stored, cells=cells)
        with self.opened() as runtime:
            complete = bench.run(made_plan, self._kit(runtime, card), folder)
            return Ran(complete, tuple(runtime.started), folder)

    def reap(self) -> tuple[str, ...]:
        with self.opened() as runtime:
            return runtime.reap()

    @contextmanager
    def opened(self) -> Iterator[StandInRuntime]:
        runtime = StandInRuntime(self.stand_ins, self.cache)
        try:
            yield runtime
        finally:
            runtime.close()

    def _kit(self, runtime: StandInRuntime, card: Gpu) -> Kit:
        console = Console(self.screen)
        return Kit(
            runtime=runtime,
            backends=load_backends(),
            host=Host(
                os="test",
                kernel="1",
                machine="x",
                cpu="c",
                cpus=32,
                memory_bytes=256 * 2**30,
                python="3.11",
                gpus=(card,),
            ),
            checkout=Checkout(version="0", git_revision=None, git_dirty=False, packages={}),
            cache_dir=self.cache,
            dolly_path=self.folder / "no-dolly",
            token=TOKEN,
            console=console,
            interrupts=Interrupts(console.say),
            environment={"HF_ENDPOINT": self.hub_url, "NO_PROXY": "*"},
        )


@contextmanager
def hub(model_id: str, files: Mapping[str, bytes]) -> Iterator[FakeHub]:
    """The catalogue's repository of the model."""
    origin = loader.model(model_id).hub
    assert origin is not None
    large = tuple(name for name in files if name.endswith((".safetensors", ".bin")))
    with FakeHub(dict(files), large=large, repository=origin.repository) as found:
        yield found


def no_cards(patch: Callable[[object, str, object], object]) -> None:
    """The host's GPU is made up: nothing can be asked of it."""

    def without(cache_dir: Path, wanted: Wanted, *rest: Any) -> Gate:
        return Gate(cache_dir, wanted.model_copy(update={"gpus": ()}), *rest)

    patch(group, "Gate", without)
    patch(group, "GpuWatch", lambda _, ours: GpuWatch((), ours))


def main(plan_path: str, stand_ins_path: str, hub_url: str, folder: str) -> None:
    no_cards(setattr)
    images = {k: Image.model_validate(v) for k, v in json.loads(Path(stand_ins_path).read_bytes()).items()}
    rig = Rig(Path(folder), images, hub_url)
    rig.run(Plan.model_validate_json(Path(plan_path).read_bytes()))


if __name__ == "__main__":
    main(*sys.argv[1:])
