"""What a run will do, before anything is touched: plain JSON, printed by `plan`, stored in run.json."""

from __future__ import annotations

from backends.contract import (
    Accelerator,
    Deviation,
    ImageSpec,
    ReadySpec,
    Refusal,
    RequestSpec,
    ServeSpec,
    StepSpec,
    Value,
)
from orchestrator.domain.cell import CellGroup
from orchestrator.domain.model import Model

IMAGE_BYTES_PER_S = 40e6  # building or pulling: a guess before there is a history of phases
WEIGHTS_BYTES_PER_S = 100e6
STEP_BYTES_PER_S = 50e6
UP_S = 20.0
PER_CELL_S = 3.0


def artifact_label(backend: str, release: str, model: str) -> str:
    """How the names of what a release's steps make of a model begin; profiles may share them."""
    return f"{backend}-{release}-{model}"


class GroupPlan(Value):
    """One deployment and its cells. `quantize` makes the weights out of another model's; its calibration
    texts are put in when it runs. `port` 0 means a free one. `layer_ready` is how to see that a serving layer
    before the engine is up."""

    group: CellGroup
    model: Model
    image: ImageSpec
    base: str
    dockerfile: str | None
    quantize: StepSpec | None = None
    steps: tuple[StepSpec, ...]
    serve: ServeSpec
    request: RequestSpec
    deviations: tuple[Deviation, ...]
    port: int = 0
    layer_ready: ReadySpec | None = None

    @property
    def measure_s(self) -> float:
        return len(self.group.loads) * (self.group.workload.length_s + PER_CELL_S)

    @property
    def prepare_s(self) -> float:
        """Estimate of everything before the first cell, with nothing in the caches."""
        build_s = sum(image.install_bytes for image in self.images) / IMAGE_BYTES_PER_S
        steps_s = sum(step.output_bytes for step in self.all_steps) / STEP_BYTES_PER_S
        return build_s + self.model.source.weights_bytes / WEIGHTS_BYTES_PER_S + steps_s + UP_S

    @property
    def images(self) -> tuple[ImageSpec, ...]:
        """What serves, and what its steps run in."""
        of_steps = (step.image or self.engine_image for step in self.all_steps)
        return tuple(dict.fromkeys((self.image, *of_steps)))

    @property
    def engine_image(self) -> ImageSpec:
        """The engine's own, without a serving layer: what steps make does not depend on one."""
        return self.image.model_copy(update={"layer": None})

    @property
    def all_steps(self) -> tuple[StepSpec, ...]:
        """Everything that is made before the engine can serve, in order."""
        return (*((self.quantize,) if self.quantize else ()), *self.steps)

    @property
    def memory_bytes(self) -> int:
        """Of the host: an engine on a GPU reads its weights through the page cache, which needs no room."""
        served_bytes = self.model.source.weights_bytes if self.group.accelerator is Accelerator.CPU else 0
        return max(served_bytes, *(step.memory_bytes for step in self.all_steps), 0)


class Refused(Value):
    """A backend that cannot serve the model: an outcome that plan and report show."""

    backend: str
    release: str
    model: str
    refusal: Refusal


class Plan(Value):
    """Everything that one invocation will do. `notes` tell what was decided for the user, and why."""

    groups: tuple[GroupPlan, ...]
    refused: tuple[Refused, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def disk_bytes(self) -> int:
        """Of everything that is made or fetched; what groups share counts once."""
        images = dict.fromkeys(image for group in self.groups for image in group.images)
        steps = {(g.group.backend, g.model.id, s.id): s.output_bytes for g in self.groups for s in g.steps}
        return (
            sum(image.install_bytes for image in images)
            + sum(model.weights_bytes for model in self.models)
            + sum(steps.values())
        )

    @property
    def models(self) -> tuple[Model, ...]:
        return tuple(dict.fromkeys(group.model for group in self.groups))

    @property
    def minutes(self) -> float:
        return sum(g.measure_s + g.prepare_s for g in self.groups) / 60
