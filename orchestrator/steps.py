"""Steps: commands that make artifacts, and the weights they start from. Each is made once, addressed by all
that could change it."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from backends.contract import FailureCause, FailureSignature, ImageSpec, StepSpec
from orchestrator import fetch
from orchestrator.artifacts import ARTIFACTS, MANIFEST, MODELS, Artifact, Making, Order, Progress, Store, find
from orchestrator.domain.failure import classify
from orchestrator.domain.model import Model
from orchestrator.domain.plan import GroupPlan, Plan, artifact_label
from orchestrator.domain.provenance import Gpu, Image
from orchestrator.errors import CellError, HostError
from orchestrator.interrupts import Interrupts
from orchestrator.ready import recent, tail
from orchestrator.render import FOLDER
from orchestrator.runtime.interface import JobEnd, JobSpec, Runtime
from orchestrator.store.runs import RunFolder
from quantize import synthetic

# Fields of a step that say nothing about what it makes.
WITHOUT_EFFECT = {"title", "options", "deadline_s", "output_bytes", "memory_bytes"}
FULL_BYTES = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Workshop:
    """What steps are run with, for one group. `environment` is ours, of which the fetch gets what it needs to
    reach the hub; the token goes to the fetch alone."""

    name: str
    folder: RunFolder
    store: Store
    runtime: Runtime
    interrupts: Interrupts
    progress: Progress
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    token: str | None = field(default=None, repr=False)

    def job_name(self, step_id: str) -> str:
        return f"{self.folder.id}-{self.name}-{step_id}"

    def log_path(self, step_id: str) -> Path:
        return self.folder.log_path(f"{self.name}-{step_id}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """What a step may read, and what it is run on. `label` begins its artifact's name, `earlier` are the outputs
    of the steps before it."""

    label: str
    model_folder: str
    weights: Artifact
    images: Mapping[ImageSpec, Image]
    image: ImageSpec
    gpus: tuple[Gpu, ...]
    signatures: Sequence[FailureSignature]
    earlier: dict[str, Artifact] = field(default_factory=dict)

    def image_of(self, step: StepSpec) -> ImageSpec:
        return step.image or self.image

    def gpus_of(self, step: StepSpec) -> tuple[Gpu, ...]:
        return self.gpus if step.gpu else ()


def weights(model: Model, shop: Workshop) -> Artifact:
    """The model's weights, from the cache where they are whole, else made or fetched."""
    address = weights_key(model)
    order = Order(
        home=_weights_home(model, shop.store.cache_dir),
        key=address,
        title=model.origin,
        estimate_bytes=model.weights_bytes,
        resumed=model.hub is not None,
    )
    return shop.store.provide(order, lambda folder: _fill(model, folder, shop), shop.progress)


def output(
    step: StepSpec, inputs: Inputs, shop: Workshop, *, verify: Callable[[Path], None] = lambda _: None
) -> Artifact:
    """What the step makes, from the cache where it is whole, else made now and let pass by `verify`."""
    address = step_key(step, inputs)
    order = Order(
        home=shop.store.cache_dir / ARTIFACTS / f"{inputs.label}-{step.id}-{address}",
        key=address,
        title=step.title,
        estimate_bytes=step.output_bytes,
    )

    def make(folder: Path) -> Making:
        making = _run(step, inputs, folder, shop)
        verify(folder)
        return making

    return shop.store.provide(order, make, shop.progress)


def names(plan: GroupPlan) -> tuple[str, ...]:
    """How the names of all that a group needs begin: known before its images are there."""
    source = plan.model.source
    own = (f"{source.id}-{weights_key(source)}", *((f"{plan.model.id}-",) if plan.quantize else ()))
    return (*own, *(f"{label(plan)}-{step.id}-" for step in plan.steps))


def label(plan: GroupPlan) -> str:
    return artifact_label(plan.group.backend, plan.group.release, plan.model.id)


def at_hand(cache_dir: Path) -> tuple[str, ...]:
    """What steps have made here, or what was brought here: names without addresses."""
    found = (
        path.parent.name.rpartition("-")[0] for path in (cache_dir / ARTIFACTS).glob(f"[!.]*/{MANIFEST}")
    )
    return tuple(sorted(set(found)))


def held_bytes(plan: Plan, cache_dir: Path) -> int:
    """Of the disk that the plan counts, what its models have taken already."""
    return sum(m.weights_bytes for m in plan.models if find(_weights_home(m, cache_dir)) is not None)


def weights_key(model: Model) -> str:
    """12 characters that change with anything that could change the weights."""
    fetched = (model.origin, *fetch.patterns(model.formats))
    origin = "\n".join(fetched) if model.made is None else synthetic.fingerprint(model.made.recipe)
    return hashlib.sha256(origin.encode()).hexdigest()[:12]


def step_key(step: StepSpec, inputs: Inputs) -> str:
    """12 characters that change with anything that could change what the step makes."""
    spec = inputs.image_of(step)
    programs = {name: (FOLDER / "context" / name).read_text("utf-8") for name in spec.build.context}
    parts = {
        "step": step.model_dump(mode="json", exclude=WITHOUT_EFFECT),
        "programs": programs,
        "image": _maker(step, inputs.images[spec]),
        "model": [inputs.model_folder, inputs.weights.digest],
        "steps": {name: inputs.earlier[name].key for name in step.step_inputs},
        "gpus": [
            [gpu.name, gpu.compute_capability, gpu.memory_bytes]
            for gpu in inputs.gpus_of(step)
            if not step.portable
        ],
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]


def _weights_home(model: Model, cache_dir: Path) -> Path:
    return cache_dir / MODELS / f"{model.id}-{weights_key(model)}"


def _maker(step: StepSpec, image: Image) -> str:
    """What made it: the image on this host or, of what serves on any, what the image was built from, so that it
    can be brought along from a host that has more memory."""
    return image.reference if step.portable else image.digest


def _fill(model: Model, folder: Path, shop: Workshop) -> Making:
    """Put the weights into the folder."""
    if model.made is not None:
        began_s = time.monotonic()
        synthetic.make(model.made.recipe, folder)
        return Making(revision=model.made.recipe, wall_s=time.monotonic() - began_s)
    if model.hub is None:
        raise CellError(f"model {model.id} has no origin", hint="give it `made` or `hub` in models.toml")
    job = fetch.Job(
        name=shop.job_name("weights"),
        hub=model.hub,
        patterns=fetch.patterns(model.formats),
        folder=folder,
        log_path=shop.log_path("weights"),
        token=shop.token,
        environment=shop.environment,
    )
    with shop.interrupts.deferred():
        return fetch.run(job, shop.progress, shop.interrupts.check)


def _run(step: StepSpec, inputs: Inputs, folder: Path, shop: Workshop) -> Making:
    """The step's output in the folder, or a CellError that says why there is none."""
    folder.chmod(0o777)  # the step's user is not ours; nobody else gets through to it
    spec = JobSpec(
        name=shop.job_name(step.id),
        image=inputs.images[inputs.image_of(step)],
        step=step,
        model_folder=inputs.model_folder,
        weights_dir=inputs.weights.folder,
        steps={name: artifact.folder for name, artifact in inputs.earlier.items()},
        out_dir=folder,
        log_path=shop.log_path(step.id),
        gpus=tuple(gpu.uuid for gpu in inputs.gpus_of(step)),
    )
    with shop.interrupts.deferred():
        end = shop.runtime.run(spec, shop.progress, shop.interrupts.check)
    _require_well(spec, end, inputs.signatures)
    return Making(wall_s=end.wall_s, peak_memory_bytes=end.peak_memory_bytes or None)


def _require_well(spec: JobSpec, end: JobEnd, signatures: Sequence[FailureSignature]) -> None:
    step, code = spec.step, end.state.exit_code
    absent = [p for p in step.produces if not any(path.is_file() for path in spec.out_dir.glob(p))]
    if not end.late and code == 0 and not absent:
        return
    if (end.late or code) and shutil.disk_usage(spec.out_dir).free < FULL_BYTES:
        raise HostError(
            f"step {step.id} filled the disk: {tail(spec.log_path)}",
            hint="free disk, or set LEVELBENCH_CACHE to another folder",
        )
    how = end.late or (f"ended with {code}" if code else f"ended with 0 but made no {absent[0]}")
    cause, hint = classify(
        exit_code=None if end.late or code == 0 else code,
        oom_killed=end.state.oom_killed,
        log=recent(spec.log_path),
        signatures=signatures,
    )
    if end.late and cause is FailureCause.UNKNOWN:
        cause = FailureCause.DEADLINE
    raise CellError(f"step {step.id} {how}", hint=hint, cause=cause, log_tail=tail(spec.log_path))
