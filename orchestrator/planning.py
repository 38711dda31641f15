"""A request -> a plan. Pure: what the host is, and where engines will live, is told to it."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from pydantic import Field

from backends.contract import (
    Accelerator,
    Backend,
    Build,
    Deviation,
    HostTraits,
    Profile,
    Refusal,
    Release,
    Value,
)
from orchestrator.catalog import loader
from orchestrator.domain.cell import CellGroup, Load, RuntimeChoice, RuntimeKind
from orchestrator.domain.model import Model
from orchestrator.domain.plan import GroupPlan, Plan, Refused
from orchestrator.domain.workload import Workload
from orchestrator.errors import RequestError, unknown
from orchestrator.render import render

DEFAULT_MODEL = "small"


class AcceleratorChoice(str, Enum):
    """ACCELERATOR=: AUTO is the GPU where there is one."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


class Request(Value):
    """What a person asked for, names not yet looked up."""

    backends: tuple[str, ...]
    model: str = DEFAULT_MODEL
    release: str = "current"
    profile: Profile = Profile.DEFAULTS
    workload: str | None = None
    users: tuple[int, ...] = ()
    duration_s: float | None = Field(default=None, gt=0)
    accelerator: AcceleratorChoice = AcceleratorChoice.AUTO
    runtime: RuntimeChoice = RuntimeChoice.AUTO
    base: str | None = None
    port: int = Field(default=0, ge=0, le=65535)


class Chosen(Value):
    """One backend's release and build that will serve the request on this host."""

    backend: str
    release: str
    build: Build


def choose_builds(
    request: Request, backends: Mapping[str, Backend], host: HostTraits
) -> tuple[list[Chosen], list[Refused]]:
    """Look up names and ask each adapter. RequestError for an unknown name; a refusal is an outcome."""
    model = loader.model(request.model)
    chosen, refused = [], []
    for name in dict.fromkeys(request.backends):
        backend, release = _look_up(request, backends, name)
        build = release.build(host.accelerator)
        refusal = backend.supports(release, model.traits, host) or _unreachable(request, build)
        if refusal is None and build is not None:
            chosen.append(Chosen(backend=name, release=release.id, build=build))
        elif refusal is not None:
            refused.append(Refused(backend=name, release=release.id, model=model.id, refusal=refusal))
    if not chosen:
        raise _nothing_left(refused)
    return chosen, refused


def plan(
    request: Request,
    backends: Mapping[str, Backend],
    host: HostTraits,
    runtime: RuntimeKind,
    notes: tuple[str, ...] = (),
) -> Plan:
    """Everything that will happen, in order."""
    chosen, refused = choose_builds(request, backends, host)
    model = loader.model(request.model)
    workload = shape(request, host.accelerator)
    groups = tuple(_group(request, backends, c, model, workload, host, runtime) for c in chosen)
    return Plan(groups=groups, refused=tuple(refused), notes=notes)


def shape(request: Request, accelerator: Accelerator) -> Workload:
    """The workload with the request's own users and duration. By default `short` on a CPU, else `article`."""
    name = request.workload or ("short" if accelerator is Accelerator.CPU else "article")
    workload = loader.workload(name)
    if any(n < 1 for n in request.users):
        raise RequestError("users must be 1 or more", hint="for example USERS=1,4,16")
    changes: dict[str, object] = {}
    if request.users:
        changes["users"] = tuple(dict.fromkeys(request.users))
    if request.duration_s is not None:
        if workload.ramp_inside and request.duration_s <= workload.ramp_s:
            raise RequestError(
                f"workload {name!r} ramps for {workload.ramp_s:g} s within its duration",
                hint=f"DURATION must be longer than {workload.ramp_s:g}",
            )
        changes["duration_s"] = request.duration_s
    return workload.model_copy(update=changes)


def _look_up(request: Request, backends: Mapping[str, Backend], name: str) -> tuple[Backend, Release]:
    if name not in backends:
        raise unknown("backend", name, backends)
    backend = backends[name]
    release = backend.release(request.release)
    if release is None:
        raise unknown(f"release of {name}", request.release, [r.id for r in backend.releases])
    if request.profile not in release.profiles:
        known = [p.value for p in release.profiles]
        raise unknown(f"profile of {name} {release.id}", request.profile.value, known)
    return backend, release


def _unreachable(request: Request, build: Build | None) -> Refusal | None:
    """Why a build cannot be had at all, or not in the runtime that was asked for."""
    if build is None:
        return Refusal(reason="this release has no build for this accelerator")
    if request.runtime is RuntimeChoice.PROCESS and not build.packages:
        reason = f"{build.version} comes as an image only, and no process can run it"
        return Refusal(reason=reason, alternative="RUNTIME=docker")
    return None


def _nothing_left(refused: list[Refused]) -> RequestError:
    reasons = "; ".join(f"{r.backend}: {r.refusal.reason}" for r in refused)
    alternatives = [r.refusal.alternative for r in refused if r.refusal.alternative]
    return RequestError(reasons, hint=f"try {alternatives[0]}" if alternatives else "take another model")


def _group(
    request: Request,
    backends: Mapping[str, Backend],
    chosen: Chosen,
    model: Model,
    workload: Workload,
    host: HostTraits,
    runtime: RuntimeKind,
) -> GroupPlan:
    backend, build = backends[chosen.backend], chosen.build
    image = backend.image(_look_up(request, backends, chosen.backend)[1], build)
    base = build.based_on(request.base)
    group = CellGroup(
        backend=chosen.backend,
        release=chosen.release,
        version=build.version,
        accelerator=build.accelerator,
        model=model.id,
        profile=request.profile,
        runtime=runtime,
        dialect=backend.dialects(build)[0],
        workload=workload,
        loads=tuple(Load(users=u, system_prompt=s) for s in workload.system_prompts for u in workload.users),
    )
    return GroupPlan(
        group=group,
        model=model,
        image=image,
        base=base,
        dockerfile=render(image, base=base) if runtime is RuntimeKind.DOCKER else None,
        serve=backend.serve(build, model.traits, request.profile, host),
        steps=(model.origin,),
        deviations=(*_runtime_deviation(runtime), *backend.deviations(build, request.profile, host)),
        port=request.port,
    )


def _runtime_deviation(runtime: RuntimeKind) -> tuple[Deviation, ...]:
    if runtime is RuntimeKind.DOCKER:
        return ()
    reason = "no container: the engine shares this host's libraries and files, in a venv of its own"
    return (Deviation(setting="RUNTIME", value=runtime.value, reason=reason),)
