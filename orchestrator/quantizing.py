"""A model of the catalogue quantised: the step, its calibration texts, the check of what came out of it.

`MODEL=<model>.<method>` is such a model; `levelbench quantize` makes one without measuring anything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from backends.contract import COMMON_FAILURES, FailureCause, ImageSpec, StepSpec
from orchestrator import dolly, steps
from orchestrator.artifacts import Artifact
from orchestrator.catalog import prompts
from orchestrator.domain.model import QuantizedOrigin
from orchestrator.domain.provenance import Gpu, Image
from orchestrator.domain.workload import PromptSource
from orchestrator.errors import CellError
from orchestrator.steps import Inputs, Workshop
from quantize import check, methods
from quantize.methods import Example

Progress = Callable[[str], None]


def label(origin: QuantizedOrigin) -> str:
    """How the artifact's name begins: whatever engine it is for, it is the same."""
    return f"{origin.base.id}.{origin.method}"


def checkpoint(
    origin: QuantizedOrigin,
    step: StepSpec,
    weights: Artifact,
    images: Mapping[ImageSpec, Image],
    gpus: tuple[Gpu, ...],
    dolly_path: Path,
    shop: Workshop,
) -> Artifact:
    """The quantised weights, from the cache or made, read back and found sound; CellError otherwise."""
    assert step.image is not None  # noqa: S101 - each tool has an image of its own
    inputs = Inputs(
        label=label(origin),
        model_folder=origin.base.traits.folder,
        weights=weights,
        images=images,
        image=step.image,
        gpus=gpus,
        signatures=COMMON_FAILURES,
    )
    calibrated = methods.calibrated(step, examples(dolly_path, shop.progress))
    return steps.output(calibrated, inputs, shop, verify=lambda out: _verify(origin, out, weights, shop))


def examples(dolly_path: Path, progress: Progress) -> tuple[Example, ...]:
    """The texts that a calibration draws from: dolly-15k where it can be had, else our own prompts."""
    dolly.provide(PromptSource.AUTO, dolly_path, progress=progress)
    name, found = prompts.examples(PromptSource.AUTO, dolly_path)
    progress(f"calibrated on {name}, {len(found)} texts to draw from")
    return tuple(Example(prompt=p.text, response=p.response) for p in found)


def _verify(origin: QuantizedOrigin, out: Path, weights: Artifact, shop: Workshop) -> None:
    layout = methods.LAYOUTS[origin.method]
    try:
        found = check.check(out, weights.folder, layout)
    except check.BadCheckpointError as error:
        raise CellError(
            f"the quantised weights are not sound: {error}",
            hint="see the step's log in the run folder; another METHOD may do",
            cause=FailureCause.MODEL_FILES,
        ) from error
    shop.progress(
        f"read back: {len(found.errors)} layers, largest relative error {found.worst:.3f} "
        f"(bound {layout.error:g})"
    )
