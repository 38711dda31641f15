"""A plan -> text: images, steps, argv, cells, minutes, disk. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from backends.contract import Launch, StepSpec
from orchestrator.domain.plan import GroupPlan, Plan
from orchestrator.report.units import count

GIGABYTE = 1e9
# What stands in a command for a place that is known only where it will run (backends/contract/launch.py)
_PLACEHOLDERS = {
    "{model}": "the weights' folder",
    "{config}": "the folder of the command's files",
    "{files}": "the folder of the programs beside the engine",
    "{out}": "the step's own output",
    "{bind}": "the address to listen on",
    "{port}": "the port",
    "{engine_port}": "the engine's own port",
    "{layer}": "the serving layer's environment",
}


def text(plan: Plan) -> str:
    """What would happen, in order; nothing of it has been touched."""
    return "\n".join(_lines(plan)) + "\n"


def _lines(plan: Plan) -> Iterator[str]:
    cells = sum(len(g.group.loads) for g in plan.groups)
    yield (
        f"{count(len(plan.groups), 'deployment')}, {count(cells, 'cell')}, "
        f"about {plan.minutes:.0f} min with empty caches, up to {plan.disk_bytes / GIGABYTE:.1f} GB of disk"
    )
    for note in plan.notes:
        yield f"note: {note}"
    for refused in plan.refused:
        instead = f" (instead: {refused.refusal.alternative})" if refused.refusal.alternative else ""
        yield f"left out: {refused.backend} with {refused.model}: {refused.refusal.reason}{instead}"
    for group in plan.groups:
        yield ""
        yield from _group(group)
    if explained := "; ".join(_explained(plan)):
        yield ""
        yield f"in braces, filled in where a command runs: {explained}"


def _group(plan: GroupPlan) -> Iterator[str]:
    group, workload, layer = plan.group, plan.group.workload, plan.image.layer
    profile = f", profile {group.profile.value}" if group.profile else ""
    yield f"{group.id}"
    yield f"  engine    {group.version} on {plan.image.build.accelerator.value}{profile}"
    chosen = f"{plan.model.id}, which is {group.family} for this engine" if group.family else plan.model.id
    yield f"  model     {chosen}: {plan.model.title}"
    yield f"  runtime   {group.runtime.value}"
    if group.serving is not None:
        yield f"  serving   {group.serving} before the engine's own server"
    if plan.dockerfile is None:
        yield f"  install   {', '.join(p.lock for p in plan.image.build.packages) or 'nothing: docker only'}"
        if layer is not None:
            yield f"  beside it {', '.join(p.lock for p in layer.build.packages)}"
    else:
        yield f"  image     {plan.image.template} from {plan.base}"
        if layer is not None:
            yield f"  around it {layer.template}"
    yield f"  weights   {plan.model.origin}"
    for step in plan.all_steps:
        where = "" if step.image is None else f", in {step.image.template} from {step.image.build.base}"
        yield f"  step      {step.id}: {step.title}{where}; {', '.join(_takes(step))}"
        yield f"            {shlex.join(step.argv)}"
        for file in step.files:
            yield f"            {{config}}/{file.path}, {count(len(file.text.splitlines()), 'line')}"
    yield f"  argv      {shlex.join(plan.serve.argv)}"
    for name, value in sorted(plan.serve.env.items()):
        yield f"  env       {name}={value}"
    for file in plan.serve.files:
        yield f"  file      {{config}}/{file.path}, {count(len(file.text.splitlines()), 'line')}"
    yield f"  requests  {plan.request.dialect.value}, prompts as {plan.request.template.value}"
    yield f"  workload  {workload.id}: {workload.title}"
    yield (
        f"  cells     {', '.join(c.load.id for c in group.cells)}: {workload.length_s:.0f} s each, "
        f"about {plan.measure_s / 60:.1f} min in all"
    )
    yield f"  prepare   about {plan.prepare_s / 60:.1f} min with empty caches (a guess before the first run)"
    for deviation in plan.deviations:
        yield f"  deviates  {deviation.setting} {deviation.value}: {deviation.reason}"


def _takes(step: StepSpec) -> Iterator[str]:
    """What a step takes of the host."""
    if step.gpu:
        yield "on the GPU"
        if step.portable:
            yield "for any GPU"
    if step.memory_bytes:
        yield f"in {_size(step.memory_bytes)} of memory"
    yield f"about {_size(step.output_bytes)}"
    yield f"at most {step.deadline_s / 60:.0f} min"


def _size(size_bytes: int) -> str:
    if size_bytes < GIGABYTE:
        return f"{size_bytes / 1e6:.0f} MB"
    return f"{size_bytes / GIGABYTE:.1f} GB"


def _explained(plan: Plan) -> Iterator[str]:
    """The placeholders that occur, in words."""
    launches: list[Launch] = [launch for group in plan.groups for launch in (*group.all_steps, group.serve)]
    words = [word for launch in launches for word in (*launch.argv, *launch.env.values())]
    words += ["{config}" for launch in launches if launch.files]
    yield from (f"{name} {what}" for name, what in _PLACEHOLDERS.items() if any(name in w for w in words))
    steps = dict.fromkeys(name for launch in launches for name in launch.step_inputs)
    yield from (f"{{step:{name}}} what step {name} makes" for name in steps)
