"""A plan of an engine -> the same with a serving layer before it. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from backends.contract import (
    Backend,
    EngineRequest,
    LayerRelease,
    RequestSpec,
    ServingLayer,
    Template,
    before,
)
from orchestrator.catalog import loader
from orchestrator.domain.cell import RuntimeKind, Serving
from orchestrator.domain.plan import GroupPlan, Refused
from orchestrator.domain.workload import Sampling
from orchestrator.errors import RequestError, unknown
from orchestrator.launching import check
from orchestrator.load.dialects import body, path
from orchestrator.render import render

# Words that stand for what a request brings; nothing else of a body is like them
PROMPT, SYSTEM, MAX_TOKENS = "<levelbench: prompt>", "<levelbench: system prompt>", 987_654_321


@dataclass(frozen=True, slots=True)
class Choice:
    """What a person named: one release of one layer."""

    layer: ServingLayer
    release: LayerRelease


def choose(name: str, release_id: str) -> Choice | None:
    """`native` is none; a layer by its name, in the release of the engine's age, or as `name@release`.
    RequestError for what there is not."""
    layer = loader.serving_layer(name)
    if layer is None:
        return None
    wanted = name.partition("@")[2]
    release = layer.release(wanted or release_id)
    if release is None:
        raise unknown(f"release of {layer.name}", wanted or release_id, [r.id for r in layer.releases])
    return Choice(layer, release)


def served(
    natives: Iterable[GroupPlan], names: Sequence[str], backends: Mapping[str, Backend]
) -> tuple[tuple[GroupPlan, ...], tuple[Refused, ...]]:
    """Every engine in every way that was named. RequestError when none is left."""
    groups: list[GroupPlan] = []
    refused: list[Refused] = []
    for native in natives:
        group = native.group
        for name in dict.fromkeys(names):
            one = behind(name, native, backends[group.backend])
            refused += [one] if isinstance(one, Refused) else []
            groups += [one] if isinstance(one, GroupPlan) else []
    if not groups:
        raise RequestError(
            "; ".join(f"{r.backend}: {r.refusal.reason}" for r in refused), hint="take SERVING=native"
        )
    return tuple(groups), tuple(refused)


def behind(name: str, native: GroupPlan, backend: Backend) -> GroupPlan | Refused:
    """The engine behind the layer of that name, or why it cannot be. RequestError for what there is not."""
    group = native.group
    choice = choose(name, group.release)
    refusal = None if choice is None else choice.layer.supports(native.request)
    if refusal is not None:
        return Refused(backend=group.backend, release=group.release, model=group.model, refusal=refusal)
    return native if choice is None else put(choice, native, backend)


def put(choice: Choice, native: GroupPlan, backend: Backend) -> GroupPlan:
    """The deployment with the layer before the engine. RequestError for an option that the layer's release
    does not take."""
    layer, release = choice.layer, choice.release
    group = native.group
    front = layer.front(
        release, engine_request(native.request, native.model.traits.served_name, group.workload.sampling)
    )
    check([front])
    asked = layer.request(release)
    image = native.image.model_copy(update={"layer": release.image})
    serving = Serving(name=layer.name, title=layer.title, release=release.id, version=release.version)
    changes: dict[str, object] = {
        "group": group.model_copy(update={"serving": serving, "dialect": asked.dialect}),
        "image": image,
        "dockerfile": render(image, base=native.base) if group.runtime is RuntimeKind.DOCKER else None,
        "serve": before(front, native.serve),
        "request": asked,
        "layer_ready": layer.ready(release),
        "deviations": layer.deviations(release, backend.held, native.deviations),
    }
    return native.model_copy(update=changes)


def engine_request(spec: RequestSpec, model: str, sampling: Sampling) -> EngineRequest:
    """What levelbench's own client would send to the engine: the layer asks it the same."""
    most = sampling.model_copy(update={"max_tokens": MAX_TOKENS})
    renders = spec.template is not Template.MESSAGES
    with_system, without = (
        json.loads(body(spec, model, PROMPT, None if renders else system, most)) for system in (SYSTEM, None)
    )
    return EngineRequest(
        spec=spec,
        path=path(spec),
        with_system=with_system,
        without_system=without,
        prompt=PROMPT,
        system=SYSTEM,
        max_tokens=MAX_TOKENS,
    )
