"""A request -> a plan. Pure: what the host is, and where engines will live, is told to it."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from backends import NATIVE
from backends.contract import (
    Accelerator,
    Backend,
    Build,
    Deviation,
    HostTraits,
    PrefixCaching,
    Profile,
    Refusal,
    Release,
    ServeSpec,
    Setup,
    StepSpec,
    Value,
)
from orchestrator import layering
from orchestrator.catalog import loader
from orchestrator.domain.cell import (
    AcceleratorChoice,
    CellGroup,
    Load,
    Role,
    RuntimeChoice,
    RuntimeKind,
    loads,
)
from orchestrator.domain.model import Model
from orchestrator.domain.plan import GroupPlan, Plan, Refused, artifact_label
from orchestrator.domain.provenance import Host
from orchestrator.domain.workload import Workload
from orchestrator.errors import RequestError, unknown
from orchestrator.launching import amend, check, words_for
from orchestrator.refusals import refusal
from orchestrator.render import render
from quantize import methods

DEFAULT_MODEL = "small"


class Request(Value):
    """What a person asked for, names not yet looked up. A matrix says with `loads` exactly which ones it wants,
    where they are not all of the workload's."""

    backends: tuple[str, ...]
    model: str = DEFAULT_MODEL
    release: str = "current"
    profile: Profile = Profile.DEFAULTS
    prefix_caching: PrefixCaching = PrefixCaching.PROFILE
    extra_args: tuple[str, ...] = ()
    gpus: str = "1"
    workload: str | None = None
    users: tuple[int, ...] = ()
    duration_s: float | None = Field(default=None, gt=0)
    accelerator: AcceleratorChoice = AcceleratorChoice.AUTO
    serving: tuple[str, ...] = (NATIVE,)
    runtime: RuntimeChoice = RuntimeChoice.AUTO
    base: str | None = None
    port: int = Field(default=0, ge=0, le=65535)
    loads: tuple[Load, ...] = ()
    role: Role = Role.MEASURED
    mark: str = ""


class Chosen(Value):
    """One backend's setup that will serve the request on this host."""

    backend: str
    model: Model
    setup: Setup

    @property
    def build(self) -> Build:
        return self.setup.build


def choose_builds(
    request: Request, backends: Mapping[str, Backend], host: HostTraits
) -> tuple[list[Chosen], list[Refused]]:
    """Look up names and ask each adapter. RequestError for an unknown name, and where every adapter refuses."""
    chosen, refused = look_up(request, backends, host)
    if not chosen:
        raise _nothing_left(refused)
    return chosen, refused


def look_up(
    request: Request, backends: Mapping[str, Backend], host: HostTraits
) -> tuple[list[Chosen], list[Refused]]:
    """Who serves the request here and who refuses, which is an outcome. RequestError for an unknown name."""
    models = loader.choices(request.model)
    workload = shape(request, host.accelerator)
    _require_release(request, backends)
    chosen: list[Chosen] = []
    refused: list[Refused] = []
    for name in dict.fromkeys(request.backends):
        found = _choose(request, backends, name, models, workload, host)
        if isinstance(found, Chosen):
            chosen.append(found)
        else:
            refused.append(Refused(backend=name, release=request.release, model=request.model, refusal=found))
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
    natives = [group(request, backends[c.backend], c, runtime) for c in chosen]
    groups, without_layer = layering.served(natives, request.serving, backends)
    return Plan(groups=groups, refused=(*refused, *without_layer), notes=notes)


def choose_accelerator(request: Request, backends: Mapping[str, Backend], host: Host) -> Accelerator:
    """What was asked for; else the CPU for a small model made here, so that a first look needs nothing but this
    host; else the GPU where there is one and every engine asked for has a build for it, so that a comparison
    is on one; else what there is a build for, and the GPU, which preflight will miss, for a model of size."""
    if request.accelerator is not AcceleratorChoice.AUTO:
        return Accelerator(request.accelerator.value)
    found = [b.release(request.release) for n in request.backends if (b := backends.get(n)) is not None]
    releases = [release for release in found if release is not None]
    made_here = any(model.source.made is not None for model in loader.choices(request.model))
    if made_here and all(release.build(Accelerator.CPU) for release in releases):
        return Accelerator.CPU
    if host.gpus and all(release.build(Accelerator.CUDA) for release in releases):
        return Accelerator.CUDA
    on_cpu = made_here and any(release.build(Accelerator.CPU) for release in releases)
    return Accelerator.CPU if on_cpu else Accelerator.CUDA


def shape(request: Request, accelerator: Accelerator) -> Workload:
    """The workload with the request's own users and duration. By default `short` on a CPU, else `article`."""
    name = request.workload or ("short" if accelerator is Accelerator.CPU else "article")
    workload = loader.workload(name)
    if any(n < 1 for n in request.users):
        raise RequestError("users must be 1 or more", hint="for example USERS=1,4,16")
    changes: dict[str, object] = {}
    if request.users and workload.arrivals is not None:
        raise RequestError(f"{name!r} is an open loop: it has no users", hint="set its rates in a file")
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


def _require_release(request: Request, backends: Mapping[str, Backend]) -> None:
    """RequestError for a backend that is not there, or a release that no backend has."""
    for name in request.backends:
        if name not in backends:
            raise unknown("backend", name, backends)
    if not any(backend.release(request.release) for backend in backends.values()):
        known = {release.id for name in request.backends for release in backends[name].releases}
        raise unknown(f"release of {', '.join(request.backends)}", request.release, known)


def _choose(
    request: Request,
    backends: Mapping[str, Backend],
    name: str,
    models: tuple[Model, ...],
    workload: Workload,
    host: HostTraits,
) -> Chosen | Refusal:
    """The first of the models that the backend serves here, else why none."""
    backend = backends[name]
    release = backend.release(request.release)
    if release is None:
        instead = " or ".join(f"RELEASE={r.id}" for r in backend.releases)
        return Refusal(reason=f"{backend.title} has no release {request.release}", alternative=instead)
    if request.profile not in release.profiles:
        instead = " or ".join(f"PROFILE={p.value}" for p in release.profiles)
        reason = f"{backend.title} {release.id} has no {request.profile.value} settings"
        return Refusal(reason=reason, alternative=instead)
    build = release.build(host.accelerator)
    if build is None:
        return _no_build(backend, release, backends, host)
    refusals = []
    for model in models:
        setup = _setup(request, backend, build, model, host)
        found = refusal(request.runtime, backend, setup, workload)
        if found is None:
            return Chosen(backend=name, model=model, setup=setup)
        refusals.append(found)
    alternatives = [r.alternative for r in refusals if r.alternative]
    return Refusal(
        reason="; ".join(dict.fromkeys(r.reason for r in refusals)),
        # of a family's models the last is the one that most engines would have to do without
        alternative=alternatives[-1] if alternatives else _instead(request, backend, build, workload, host),
    )


def _setup(request: Request, backend: Backend, build: Build, model: Model, host: HostTraits) -> Setup:
    made = f"{artifact_label(backend.name, build.release, model.id)}-"
    return Setup(
        build=build,
        model=model.traits,
        profile=request.profile,
        host=host,
        prefix_caching=request.prefix_caching,
        finished=tuple(name.removeprefix(made) for name in host.artifacts if name.startswith(made)),
    )


def _instead(
    request: Request, backend: Backend, build: Build, workload: Workload, host: HostTraits
) -> str | None:
    """Other weights of the same model, the name of them all, or another release: what is served of these."""

    def is_served(build: Build | None, model_id: str) -> bool:
        if build is None:
            return False
        setup = _setup(request, backend, build, loader.model(model_id), host)
        return refusal(request.runtime, backend, setup, workload) is None

    asked = [model.id for model in loader.choices(request.model)]
    kin = [family for family in loader.families().values() if request.model in family.models]
    others = [
        name
        for family in kin
        if (served := [m for m in family.models if is_served(build, m)])
        for name in (*served, family.id)
    ]
    releases = [
        release.id
        for release in backend.releases
        if release.id != build.release
        and request.profile in release.profiles
        and any(is_served(release.build(host.accelerator), model_id) for model_id in asked)
    ]
    found = [*(f"MODEL={name}" for name in others), *(f"RELEASE={name}" for name in releases)]
    return " or ".join(dict.fromkeys(found)) or None


def _no_build(
    backend: Backend, release: Release, backends: Mapping[str, Backend], host: HostTraits
) -> Refusal:
    wanted = host.accelerator
    others = [
        f"BACKEND={name}"
        for name, other in backends.items()
        if other is not backend and any(r.build(wanted) for r in other.releases)
    ]
    own = [f"RELEASE={r.id}" for r in backend.releases if r.build(wanted)]
    if wanted is Accelerator.CUDA:
        own += [f"ACCELERATOR={b.accelerator.value}" for b in release.builds]
    has = " and ".join(b.accelerator.value for b in release.builds)
    reason = f"{backend.title} {release.id} runs on {has} only, not on {wanted.value}"
    return Refusal(reason=reason, alternative=" or ".join([*own, *others]) or None)


def _nothing_left(refused: list[Refused]) -> RequestError:
    reasons = "; ".join(f"{r.backend}: {r.refusal.reason}" for r in refused)
    alternatives = [r.refusal.alternative for r in refused if r.refusal.alternative]
    return RequestError(reasons, hint=f"try {alternatives[0]}" if alternatives else "take another model")


def group(request: Request, backend: Backend, chosen: Chosen, runtime: RuntimeKind) -> GroupPlan:
    """One deployment of what was chosen, and its cells."""
    setup, build = chosen.setup, chosen.build
    workload = shape(request, build.accelerator)
    image, asked, steps = backend.image(build), backend.request(setup), backend.steps(setup)
    extra = words_for(chosen.backend, request.extra_args, request.backends)
    launch = amend(backend.serve(setup), backend.deviations(setup), extra)
    check((*steps, launch.serve))
    _require_inputs(steps, launch.serve)
    base = build.based_on(request.base)
    cells = CellGroup(
        backend=chosen.backend,
        release=build.release,
        version=build.version,
        accelerator=build.accelerator,
        model=chosen.model.id,
        family=request.model if request.model != chosen.model.id else None,
        profile=request.profile,
        prefix_caching=request.prefix_caching,
        extra_args=extra,
        gpus=request.gpus,
        runtime=runtime,
        dialect=asked.dialect,
        workload=workload,
        loads=request.loads or loads(workload),
        role=request.role,
        mark=request.mark,
    )
    return GroupPlan(
        group=cells,
        model=chosen.model,
        image=image,
        base=base,
        dockerfile=render(image, base=base) if runtime is RuntimeKind.DOCKER else None,
        quantize=quantize(chosen.model, build.accelerator),
        steps=steps,
        serve=launch.serve,
        request=asked,
        deviations=(*_runtime_deviation(runtime), *launch.deviations),
        port=request.port,
    )


def quantize(model: Model, accelerator: Accelerator) -> StepSpec | None:
    """The step that makes the model's weights of another's; None for weights that are used as they are."""
    origin = model.quantized
    if origin is None:
        return None
    return methods.step(methods.METHODS[origin.method], origin.base.traits, accelerator)


def _require_inputs(steps: tuple[StepSpec, ...], serve: ServeSpec) -> None:
    """RequestError where a command reads what no step before it makes: an adapter's fault, told before
    anything is fetched for it."""
    made: set[str] = set()
    for launch in (*steps, serve):
        missing = [name for name in launch.step_inputs if name not in made]
        if missing:
            reader = f"step {launch.id}" if isinstance(launch, StepSpec) else "the engine"
            raise RequestError(
                f"{reader} reads {{step:{missing[0]}}}, which no step before it makes",
                hint="a fault of the adapter: see its `steps`",
            )
        made |= {launch.id} if isinstance(launch, StepSpec) else set()


def _runtime_deviation(runtime: RuntimeKind) -> tuple[Deviation, ...]:
    if runtime is RuntimeKind.DOCKER:
        return ()
    reason = "no container: the engine shares this host's libraries and files, in a venv of its own"
    return (Deviation(setting="RUNTIME", value=runtime.value, reason=reason),)
