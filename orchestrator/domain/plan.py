"""What a run will do, before anything is touched: plain JSON, printed by `plan`, stored in run.json."""

from __future__ import annotations

from collections.abc import Collection

from pydantic import Field

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
from orchestrator.domain.matrix import Excluded, Pattern, Rules, Waiver
from orchestrator.domain.model import Model

IMAGE_BYTES_PER_S = 40e6  # building or pulling: a guess before there is a history of phases
WEIGHTS_BYTES_PER_S = 100e6
STEP_BYTES_PER_S = 50e6
UP_S = 20.0
PER_CELL_S = 3.0


def artifact_label(backend: str, release: str, model: str) -> str:
    """How the names of what a release's steps make of a model begin; profiles may share them."""
    return f"{backend}-{release}-{model}"


class Estimate(Value):
    """What a group is going to take, in seconds: before its first cell, beside each load, and to take it down. From
    so many earlier `groups`; 0 means that it is guessed."""

    prepare_s: float
    per_cell_s: float
    down_s: float
    groups: int


class GroupPlan(Value):
    """One deployment and its cells. `quantize` makes the weights out of another model's; its calibration
    texts are put in when it runs. `port` 0 means a free one; `estimate` is None before there is a history.
    `layer_ready` is how to see that a serving layer before the engine is up. `value` is what it is worth when time runs
    out, `waivers` are those that name a cell, by its load's id."""

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
    estimate: Estimate | None = None
    value: int = 0
    waivers: dict[str, tuple[Waiver, ...]] = Field(default_factory=dict)

    @property
    def measure_s(self) -> float:
        per_cell_s = PER_CELL_S if self.estimate is None else self.estimate.per_cell_s
        return len(self.group.loads) * (self.group.workload.length_s + per_cell_s)

    @property
    def prepare_s(self) -> float:
        """Estimate of everything before the first cell: as earlier groups took, else with nothing in the caches."""
        if self.estimate is not None:
            return self.estimate.prepare_s
        return sum(self.makes.values()) + UP_S

    @property
    def makes(self) -> dict[tuple[str, str], float]:
        """What is made or fetched before it can be started, and a guess of the seconds that each takes."""
        images = {
            (image.template, image.version): image.install_bytes / IMAGE_BYTES_PER_S for image in self.images
        }
        source = self.model.source
        label = artifact_label(self.group.backend, self.group.release, self.model.id)
        steps = {(label, step.id): step.output_bytes / STEP_BYTES_PER_S for step in self.all_steps}
        return images | {("weights", source.id): source.weights_bytes / WEIGHTS_BYTES_PER_S} | steps

    @property
    def minutes(self) -> float:
        """From its image to its teardown."""
        return self.needs_s(()) / 60

    def needs_s(self, done: Collection[str]) -> float:
        """Of it, what is still to come when these cells have ended: nothing once all have."""
        due = sum(cell.id not in done for cell in self.group.cells)
        if not due:
            return 0.0
        down_s = 0.0 if self.estimate is None else self.estimate.down_s
        return self.prepare_s + self.measure_s * due / len(self.group.loads) + down_s

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
    def served_memory_bytes(self) -> int:
        """Of the host, for the engine: one on a GPU reads its weights through the page cache, which needs no room."""
        return self.model.source.weights_bytes if self.group.accelerator is Accelerator.CPU else 0

    @property
    def memory_bytes(self) -> int:
        """Of the host, for the engine or for a step before it."""
        return max(self.served_memory_bytes, *(step.memory_bytes for step in self.all_steps), 0)


class Refused(Value):
    """A backend that cannot serve the model: an outcome that plan and report show."""

    backend: str
    release: str
    model: str
    refusal: Refusal


class Night(Value):
    """Where a plan comes from, if from a matrix: its file's name and digest, what was chosen of it, the seed of the
    order, and the rules that the night keeps."""

    title: str
    name: str
    digest: str
    seed: int
    subsets: tuple[str, ...] = ()
    only: tuple[Pattern, ...] = ()
    excluded: tuple[Excluded, ...] = ()
    rules: Rules = Rules()


class Plan(Value):
    """Everything that one invocation will do, in order: stored with the run, it can be carried out again.
    `notes` tell what was decided for the user, and why."""

    groups: tuple[GroupPlan, ...]
    refused: tuple[Refused, ...] = ()
    notes: tuple[str, ...] = ()
    night: Night | None = None

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
    def rules(self) -> Rules:
        """Those of its matrix; a plan that comes from none has no budget and waives nothing."""
        return Rules() if self.night is None else self.night.rules

    @property
    def cells(self) -> int:
        return sum(len(group.group.loads) for group in self.groups)

    @property
    def models(self) -> tuple[Model, ...]:
        return tuple(dict.fromkeys(group.model for group in self.groups))

    @property
    def minutes(self) -> float:
        return sum(g.minutes for g in self.groups)
