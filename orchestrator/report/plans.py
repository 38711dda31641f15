"""A plan -> text: images, steps, argv, cells, minutes, disk. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from orchestrator.domain.plan import GroupPlan, Plan


def text(plan: Plan) -> str:
    """What would happen, in order; nothing of it has been touched."""
    return "\n".join(_lines(plan)) + "\n"


def _lines(plan: Plan) -> Iterator[str]:
    cells = sum(len(g.group.loads) for g in plan.groups)
    yield (
        f"{len(plan.groups)} deployment{_s(len(plan.groups))}, {cells} cell{_s(cells)}, "
        f"about {plan.minutes:.0f} min with empty caches, up to {plan.disk_bytes / 1e9:.1f} GB of disk"
    )
    for note in plan.notes:
        yield f"note: {note}"
    for refused in plan.refused:
        instead = f" (instead: {refused.refusal.alternative})" if refused.refusal.alternative else ""
        yield f"left out: {refused.backend} with {refused.model}: {refused.refusal.reason}{instead}"
    for group in plan.groups:
        yield ""
        yield from _group(group)


def _group(plan: GroupPlan) -> Iterator[str]:
    group, workload = plan.group, plan.group.workload
    profile = f", profile {group.profile.value}" if group.profile else ""
    yield f"{group.id}"
    yield f"  engine    {group.version} on {plan.image.build.accelerator.value}{profile}"
    yield f"  runtime   {group.runtime.value}"
    if plan.dockerfile is None:
        yield f"  install   {', '.join(p.lock for p in plan.image.build.packages) or 'nothing: docker only'}"
    else:
        yield f"  image     {plan.image.template} from {plan.base}"
    yield f"  weights   {plan.model.origin}"
    for step in plan.all_steps:
        where = "" if step.image is None else f", in {step.image.template} from {step.image.build.base}"
        what = f"{'on the GPU, ' if step.gpu else ''}about {step.output_bytes / 1e9:.1f} GB"
        yield f"  step      {step.id}: {step.title}{where}; {what}, at most {step.deadline_s / 60:.0f} min"
        yield f"            {shlex.join(step.argv)}"
        for file in step.files:
            yield f"            {{config}}/{file.path}, {len(file.text.splitlines())} lines"
    yield f"  argv      {shlex.join(plan.serve.argv)}"
    for name, value in sorted(plan.serve.env.items()):
        yield f"  env       {name}={value}"
    for file in plan.serve.files:
        yield f"  file      {{config}}/{file.path}, {len(file.text.splitlines())} lines"
    yield f"  requests  {plan.request.dialect.value}, prompts as {plan.request.template.value}"
    yield f"  workload  {workload.id}: {workload.title}"
    yield (
        f"  cells     {', '.join(c.load.id for c in group.cells)}: {workload.length_s:.0f} s each, "
        f"about {plan.measure_s / 60:.1f} min in all"
    )
    yield f"  prepare   about {plan.prepare_s / 60:.1f} min with empty caches (a guess before the first run)"
    for deviation in plan.deviations:
        yield f"  deviates  {deviation.setting} {deviation.value}: {deviation.reason}"


def _s(count: int) -> str:
    return "" if count == 1 else "s"
