"""A matrix -> a plan: cells gathered by deployment, in an order drawn by the seed, the control cell among them.

Pure: what the host is, and where engines will live, is told to it.
"""

from __future__ import annotations

import hashlib
import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from backends.contract import Accelerator, Backend, Build, HostTraits, PrefixCaching
from orchestrator import layering, planning
from orchestrator.catalog.matrices import MatrixFile
from orchestrator.domain.cell import Load, Role, RuntimeKind
from orchestrator.domain.matrix import Excluded, LoadOrder, Matrix, Moment, Pattern, Point, expand, select
from orchestrator.domain.plan import GroupPlan, Night, Plan, Refused
from orchestrator.errors import RequestError
from orchestrator.planning import Chosen, Request

Traits = Callable[[Request, Accelerator], HostTraits]


@dataclass(frozen=True, slots=True)
class Wish:
    """What a person wants of a matrix: its subsets by name, patterns on top, and the seed of the order."""

    file: MatrixFile
    seed: int
    subsets: tuple[str, ...] = ()
    parts: tuple[Pattern, ...] = ()
    only: tuple[Pattern, ...] = ()
    base: str | None = None
    port: int = 0

    @property
    def matrix(self) -> Matrix:
        return self.file.matrix


@dataclass(frozen=True, slots=True)
class Choice:
    """A deployment that is wanted, and its setup on this host, or why it has none."""

    request: Request
    chosen: Chosen | None
    refused: Refused | None = None


def choices(
    wish: Wish,
    backends: Mapping[str, Backend],
    accelerator: Callable[[Request], Accelerator],
    traits: Traits,
) -> tuple[Choice, ...]:
    """Every deployment that is wanted, as it is named, the control last. RequestError where none can be served."""
    every, _ = expand(wish.matrix, wish.file.workloads)
    points = select(every, wish.parts, wish.only)
    if not points:
        raise RequestError(
            "no cell is left of the matrix", hint="see its cells: levelbench matrix FILE --plan"
        )
    wanted = [_request(wish, deployment, of, every) for deployment, of in _deployments(points).items()]
    control = wish.matrix.control
    if control is not None:
        wanted.append(_request(wish, control.point, [control.point], every, role=Role.CONTROL))
    found = tuple(_choice(request, wanted, backends, accelerator, traits) for request in wanted)
    if not any(choice.chosen for choice in found if choice.request.role is Role.MEASURED):
        reasons = dict.fromkeys(
            f"{c.refused.backend}: {c.refused.refusal.reason}" for c in found if c.refused
        )
        raise RequestError("; ".join(reasons), hint="none of the matrix can be served on this host")
    return found


def builds(found: Iterable[Choice]) -> list[Build]:
    """Those that the runtime must be able to serve."""
    return [choice.chosen.build for choice in found if choice.chosen is not None]


def plan(
    wish: Wish,
    found: Sequence[Choice],
    backends: Mapping[str, Backend],
    runtime: RuntimeKind,
    notes: tuple[str, ...] = (),
) -> Plan:
    """Everything that the night will do, in order."""
    drawn = random.Random(wish.seed)
    made: dict[Role, list[GroupPlan]] = {role: [] for role in Role}
    refused = [c.refused for c in found if c.refused is not None]
    for choice in found:
        if choice.chosen is not None:
            request = _ordered(choice.request, wish.matrix.load_order, drawn)
            one = _deployment(request, choice.chosen, backends, runtime)
            if isinstance(one, Refused):
                refused.append(one)
            else:
                made[request.role].append(_ruled(one, request, wish.matrix))
    if not made[Role.MEASURED]:
        raise RequestError(
            "; ".join(dict.fromkeys(f"{r.backend}: {r.refusal.reason}" for r in refused)),
            hint="no serving layer of the matrix can stand before these engines",
        )
    drawn.shuffle(made[Role.MEASURED])
    control = made[Role.CONTROL]
    lost = () if control or wish.matrix.control is None else ("the control cell cannot be served here",)
    return Plan(
        groups=_with_control(made[Role.MEASURED], control, wish.matrix),
        refused=tuple(dict.fromkeys(refused)),
        notes=(*notes, *lost),
        night=_night(wish),
    )


def _deployment(
    request: Request, chosen: Chosen, backends: Mapping[str, Backend], runtime: RuntimeKind
) -> GroupPlan | Refused:
    """The engine, behind the serving layer that is asked for."""
    backend = backends[chosen.backend]
    (serving,) = request.serving
    return layering.behind(serving, planning.group(request, backend, chosen, runtime), backend)


def _night(wish: Wish) -> Night:
    return Night(
        title=wish.matrix.title,
        name=wish.file.path.name,
        digest=wish.file.digest,
        seed=wish.seed,
        subsets=wish.subsets,
        only=wish.only,
        excluded=_excluded(wish),
        rules=wish.matrix.rules,
    )


def _excluded(wish: Wish) -> tuple[Excluded, ...]:
    _, out = expand(wish.matrix, wish.file.workloads)
    wanted = set(select([x.point for x in out], wish.parts, wish.only))
    return tuple(x for x in out if x.point in wanted)


def _deployments(points: Sequence[Point]) -> dict[Point, list[Point]]:
    found = defaultdict(list)
    for point in points:
        found[point.deployment].append(point)
    return dict(found)


def _request(
    wish: Wish, deployment: Point, points: Sequence[Point], every: Sequence[Point], role: Role = Role.MEASURED
) -> Request:
    return Request(
        backends=(deployment.backend,),
        model=deployment.model,
        release=deployment.release,
        profile=deployment.profile,
        prefix_caching=deployment.prefix_caching,
        extra_args=deployment.extra_args,
        workload=deployment.workload,
        duration_s=deployment.duration_s,
        accelerator=deployment.accelerator,
        gpus=deployment.gpus,
        serving=(deployment.serving,),
        runtime=wish.matrix.runtime,
        base=wish.base,
        port=wish.port,
        loads=tuple(point.load for point in points),
        role=role,
        mark=_mark(deployment, every) if role is Role.MEASURED else "",
    )


def _mark(point: Point, every: Sequence[Point]) -> str:
    """What tells a deployment from others of its backend, release, model and profile, over the whole matrix: so
    that a cell is called alike whichever part of it is run."""

    def several(name: str) -> bool:
        return len({getattr(p, name) for p in every}) > 1

    words = [
        *([PurePath(point.workload).stem] if several("workload") else ()),
        *([f"{point.duration_s or 0:g}s"] if several("duration_s") else ()),
        *([point.accelerator.value] if several("accelerator") else ()),
        *([f"gpus-{_gpus(point.gpus)}"] if several("gpus") else ()),
        *(
            [f"prefix-{point.prefix_caching.value}"]
            if point.prefix_caching is not PrefixCaching.PROFILE
            else ()
        ),
        *([f"args-{_short(point.extra_args)}"] if point.extra_args else ()),
    ]
    return "-".join(words)


def _gpus(asked: str) -> str:
    """Their number; of names what is short and tells them apart."""
    return asked if asked.isdigit() else _short([asked])


def _short(words: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(words).encode()).hexdigest()[:6]


def _choice(
    request: Request,
    wanted: Sequence[Request],
    backends: Mapping[str, Backend],
    accelerator: Callable[[Request], Accelerator],
    traits: Traits,
) -> Choice:
    """`auto` is decided over all engines that are compared, so that they are compared on one accelerator."""
    compared = [
        r for r in wanted if (r.model, r.release, r.role) == (request.model, request.release, request.role)
    ]
    names = tuple(dict.fromkeys(name for r in compared for name in r.backends))
    on = accelerator(request.model_copy(update={"backends": names}))
    chosen, refused = planning.look_up(request, backends, traits(request, on))
    return Choice(request, next(iter(chosen), None), next(iter(refused), None))


def _ruled(group: GroupPlan, request: Request, matrix: Matrix) -> GroupPlan:
    """With what the file says of its cells: the first priority that names a cell is that cell's, and a deployment is
    worth as much as the best of its cells."""
    points = {load.id: _point(request, load) for load in request.loads}
    values = (next((p.value for p in matrix.priority if p.matches(point)), 0) for point in points.values())
    waivers = {name: tuple(w for w in matrix.waive if w.matches(point)) for name, point in points.items()}
    known = {name: of for name, of in waivers.items() if of}
    return group.model_copy(update={"value": max(values), "waivers": known})


def _point(request: Request, load: Load) -> Point:
    (backend,) = request.backends
    return Point(
        backend=backend,
        model=request.model,
        workload=request.workload,
        users=load.users,
        release=request.release,
        profile=request.profile,
        system_prompt=load.system_prompt,
        prefix_caching=request.prefix_caching,
        accelerator=request.accelerator,
        gpus=request.gpus,
        serving=request.serving[0],
    )


def _ordered(request: Request, order: LoadOrder, drawn: random.Random) -> Request:
    if order is LoadOrder.AS_NAMED:
        return request
    loads: list[Load] = list(request.loads)
    drawn.shuffle(loads)
    return request.model_copy(update={"loads": tuple(loads)})


def _with_control(
    groups: Sequence[GroupPlan], control: Sequence[GroupPlan], matrix: Matrix
) -> tuple[GroupPlan, ...]:
    """The control cell at its moments, numbered."""
    if not control or matrix.control is None:
        return tuple(groups)
    (one,) = control
    places = {Moment.START: 0, Moment.MIDDLE: (len(groups) + 1) // 2, Moment.END: len(groups)}
    moments = sorted(matrix.control.at, key=lambda moment: list(Moment).index(moment))
    ordered = list(groups)
    for number, moment in reversed(list(enumerate(moments, 1))):
        ordered.insert(places[moment], _numbered(one, number))
    return tuple(ordered)


def _numbered(plan: GroupPlan, number: int) -> GroupPlan:
    group = plan.group.model_copy(update={"mark": f"{Role.CONTROL.value}-{number}"})
    return plan.model_copy(update={"group": group})
