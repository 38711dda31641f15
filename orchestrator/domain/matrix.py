"""A matrix file as a value: what a night measures, and the rules that it keeps. Pure.

Names (backends, releases, models, workloads) are looked up by what the reader hands in as the validation's context:
one function by the kind of name, which gives the name as it is known, or raises a RequestError.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from enum import Enum
from itertools import product
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from backends import NATIVE
from backends.contract import FailureCause, PrefixCaching, Profile, Value
from orchestrator.domain.cell import AcceleratorChoice, Load, RuntimeChoice
from orchestrator.domain.result import Phase
from orchestrator.domain.workload import SystemPrompt, Workload
from orchestrator.errors import RequestError

_T = TypeVar("_T")
Fault = tuple[tuple[str | int, ...], str]


def _looked_up(kind: str) -> AfterValidator:
    def look(name: str, info: ValidationInfo) -> str:
        find = (info.context or {}).get(kind)
        if find is None:
            return name  # read back from a run's own plan, where it was known
        try:
            known: str = find(name)
        except RequestError as error:
            raise ValueError(f"{error} {error.hint}") from error
        return known

    return AfterValidator(look)


def _one_or_more(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else (value,)


def _as_words(value: Any) -> Any:
    """A number of GPUs may be written as one."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _told_once(values: tuple[_T, ...]) -> tuple[_T, ...]:
    twice = [str(getattr(v, "value", v)) for i, v in enumerate(values) if v in values[:i]]
    if twice:
        raise ValueError(f"{', '.join(dict.fromkeys(twice))} is named twice")
    return values


Several = Annotated[tuple[_T, ...], BeforeValidator(_one_or_more), AfterValidator(_told_once)]
BackendName = Annotated[str, _looked_up("backend")]
ReleaseName = Annotated[str, _looked_up("release")]
ModelName = Annotated[str, _looked_up("model")]
WorkloadName = Annotated[str, _looked_up("workload")]
ServingName = Annotated[str, _looked_up("serving")]
GpusAsked = Annotated[str, BeforeValidator(_as_words), Field(min_length=1)]
Backends = Several[BackendName]
Releases = Several[ReleaseName]
Models = Several[ModelName]
Workloads = Several[WorkloadName]
Profiles = Several[Profile]
UserCount = Annotated[int, Field(strict=True, ge=1)]
Users = Several[UserCount]
SystemPrompts = Several[SystemPrompt]
PrefixCachings = Several[PrefixCaching]
Accelerators = Several[AcceleratorChoice]
GpusChoices = Several[GpusAsked]
Servings = Several[ServingName]
Causes = Several[FailureCause]
Amount = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]


class Point(Value):
    """One cell's coordinates: everything that a matrix can say of it."""

    backend: BackendName
    model: ModelName
    workload: WorkloadName
    users: UserCount
    release: ReleaseName = "current"
    profile: Profile = Profile.DEFAULTS
    system_prompt: SystemPrompt = SystemPrompt.WITHOUT
    prefix_caching: PrefixCaching = PrefixCaching.PROFILE
    accelerator: AcceleratorChoice = AcceleratorChoice.AUTO
    gpus: GpusAsked = "1"
    serving: ServingName = NATIVE
    extra_args: tuple[str, ...] = ()
    duration_s: Amount | None = None

    @property
    def load(self) -> Load:
        return Load(users=self.users, system_prompt=self.system_prompt)

    @property
    def deployment(self) -> Point:
        """The same for all cells that one deployment serves."""
        return self.model_copy(update={"users": 1, "system_prompt": SystemPrompt.WITHOUT})

    def __str__(self) -> str:
        release = f" {self.release}" if self.release != "current" else ""
        return f"{self.backend}{release}, {self.model}, {self.workload} {self.load.id}"


class Pattern(Value):
    """Which cells are meant: those that have one of the values of every field that is named."""

    backend: Backends = ()
    model: Models = ()
    workload: Workloads = ()
    users: Users = ()
    release: Releases = ()
    profile: Profiles = ()
    system_prompt: SystemPrompts = ()
    prefix_caching: PrefixCachings = ()
    accelerator: Accelerators = ()
    gpus: GpusChoices = ()
    serving: Servings = ()

    def matches(self, point: Point) -> bool:
        return all(
            getattr(point, name) in wanted for name in Pattern.model_fields if (wanted := getattr(self, name))
        )


class Include(Pattern):
    """More cells: as the axes, but for the fields that are named here."""

    extra_args: tuple[str, ...] = ()
    duration_s: Amount | None = None


class Exclude(Pattern):
    """Cells that are left out, and why."""

    reason: str = ""

    @model_validator(mode="after")
    def _names_something(self) -> Exclude:
        if not any(getattr(self, name) for name in Pattern.model_fields):
            raise ValueError("names no field, so that it would leave out everything")
        return self


class Axes(Value):
    """The product of these is measured. No users or system prompts: those of each workload."""

    backend: Backends = Field(min_length=1)
    model: Models = Field(min_length=1)
    workload: Workloads = Field(min_length=1)
    users: Users = ()
    release: Releases = ("current",)
    profile: Profiles = (Profile.DEFAULTS,)
    system_prompt: SystemPrompts = ()
    prefix_caching: PrefixCachings = (PrefixCaching.PROFILE,)
    accelerator: Accelerators = (AcceleratorChoice.AUTO,)
    gpus: GpusChoices = ("1",)
    serving: Servings = (NATIVE,)
    extra_args: dict[BackendName, tuple[str, ...]] = Field(default_factory=dict)
    duration_s: Amount | None = None


class Moment(str, Enum):
    """When in the night the control cell is measured."""

    START = "start"
    MIDDLE = "middle"
    END = "end"


class Control(Point):
    """A cheap cell that is measured again and again: when its figures move, the host has drifted."""

    at: Several[Moment] = (Moment.START, Moment.MIDDLE, Moment.END)

    @property
    def point(self) -> Point:
        return Point(**{name: getattr(self, name) for name in Point.model_fields})


class Budget(Value):
    """What a night may take. A phase that is longer than its deadline fails its cells."""

    minutes: Amount | None = None
    disk_gb: Amount | None = None
    phase_minutes: dict[Phase, Amount] = Field(default_factory=dict)

    @field_validator("phase_minutes")
    @classmethod
    def _leaves_teardown_alone(cls, minutes: dict[Phase, Amount]) -> dict[Phase, Amount]:
        if Phase.DOWN in minutes:
            raise ValueError("a teardown is never cut short: it ends with proof, or ends the night")
        return minutes


class Priority(Pattern):
    """What these cells are worth when time runs out: the lowest are left out first. Others are worth 0."""

    value: Annotated[int, Field(strict=True)]


class Waiver(Pattern):
    """A failure that is known and accepted until a day. No cause: whichever it is."""

    cause: Causes = ()
    reason: str = Field(min_length=1)
    until: date

    def covers(self, cause: FailureCause) -> bool:
        """Whichever day it is."""
        return not self.cause or cause in self.cause

    def ran_out(self, today: date) -> bool:
        return today > self.until


class NotifyOn(str, Enum):
    """When somebody is told: after every night, or when there is something to look at."""

    ALWAYS = "always"
    TROUBLE = "trouble"


class Notify(Value):
    """Whom to tell. A webhook's address is a secret: it stands in the environment, under this name."""

    webhook_env: str = Field(min_length=1, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    on: NotifyOn = NotifyOn.ALWAYS


class LoadOrder(str, Enum):
    """The order of the loads of a deployment: as they are named, as the published benchmark did, or drawn."""

    AS_NAMED = "as-named"
    RANDOM = "random"


class Rules(Value):
    """What a night keeps while it runs; it stands in the plan of the run."""

    budget: Budget = Budget()
    waive: tuple[Waiver, ...] = ()
    priority: tuple[Priority, ...] = ()
    notify: Notify | None = None


class Matrix(Value):
    """A whole matrix file."""

    title: str = Field(min_length=1)
    seed: int | None = Field(default=None, ge=0, strict=True)
    runtime: RuntimeChoice = RuntimeChoice.AUTO
    load_order: LoadOrder = LoadOrder.AS_NAMED
    axes: Axes
    include: tuple[Include, ...] = ()
    exclude: tuple[Exclude, ...] = ()
    subset: dict[str, Pattern] = Field(default_factory=dict)
    control: Control | None = None
    budget: Budget = Budget()
    waive: tuple[Waiver, ...] = ()
    priority: tuple[Priority, ...] = ()
    notify: Notify | None = None

    @property
    def rules(self) -> Rules:
        return Rules(budget=self.budget, waive=self.waive, priority=self.priority, notify=self.notify)

    @property
    def workloads(self) -> tuple[str, ...]:
        """Of every cell."""
        named = [*self.axes.workload, *(name for more in self.include for name in more.workload)]
        return tuple(dict.fromkeys([*named, *([self.control.workload] if self.control else [])]))


class Excluded(Value):
    """A cell that the matrix itself leaves out."""

    point: Point
    reason: str


def expand(
    matrix: Matrix, workloads: Mapping[str, Workload]
) -> tuple[tuple[Point, ...], tuple[Excluded, ...]]:
    """The cells of the whole matrix, each once, and those that it excludes. The control cell is not among them."""
    every = dict.fromkeys(
        point for more in (Include(), *matrix.include) for point in _product(matrix.axes, more, workloads)
    )
    out = {point: found for point in every if (found := _excluding(matrix, point)) is not None}
    excluded = tuple(Excluded(point=point, reason=found.reason) for point, found in out.items())
    return tuple(point for point in every if point not in out), excluded


def select(points: Sequence[Point], *patterns: Sequence[Pattern]) -> tuple[Point, ...]:
    """Of each sequence of patterns a point must match one, unless the sequence is empty."""
    return tuple(
        point
        for point in points
        if all(not any_of or any(pattern.matches(point) for pattern in any_of) for any_of in patterns)
    )


def faults(matrix: Matrix, workloads: Mapping[str, Workload]) -> list[Fault]:
    """What a schema cannot see: parts that have no effect, each with its place."""
    rated = [name for name in matrix.workloads if workloads[name].arrivals is not None]
    if rated:
        return [(("axes", "workload"), f"{rated[0]} is an open loop, and the cells of a matrix have users")]
    points, excluded = expand(matrix, workloads)
    every = (*points, *(x.point for x in excluded))
    found: list[Fault] = []
    if not points:
        found.append((("exclude",), "every cell is excluded"))
    named: list[tuple[tuple[str | int, ...], Pattern]] = [
        *((("exclude", i), pattern) for i, pattern in enumerate(matrix.exclude)),
        *((("subset", name), pattern) for name, pattern in matrix.subset.items()),
        *((("waive", i), pattern) for i, pattern in enumerate(matrix.waive)),
        *((("priority", i), pattern) for i, pattern in enumerate(matrix.priority)),
    ]
    found += [
        (place, "matches no cell of this matrix")
        for place, pattern in named
        if not any(pattern.matches(point) for point in every)
    ]
    found += [
        (
            place,
            f"{workload} ramps for {workloads[workload].ramp_s:g} s within its duration of {duration_s:g} s",
        )
        for place, names, duration_s in _durations(matrix)
        for workload in names
        if workloads[workload].ramp_inside and duration_s <= workloads[workload].ramp_s
    ]
    backends = {point.backend for point in every}
    found += [
        (("axes", "extra_args", name), f"{name} is no backend of this matrix")
        for name in matrix.axes.extra_args
        if name not in backends
    ]
    return found


def _durations(matrix: Matrix) -> Iterator[tuple[tuple[str | int, ...], tuple[str, ...], float]]:
    """Every duration that is named: its place, the workloads that get it, and its seconds."""
    if matrix.axes.duration_s is not None:
        yield ("axes", "duration_s"), matrix.axes.workload, matrix.axes.duration_s
    for i, more in enumerate(matrix.include):
        if more.duration_s is not None:
            yield ("include", i, "duration_s"), more.workload or matrix.axes.workload, more.duration_s
    if matrix.control is not None and matrix.control.duration_s is not None:
        yield ("control", "duration_s"), (matrix.control.workload,), matrix.control.duration_s


def _product(axes: Axes, more: Include, workloads: Mapping[str, Workload]) -> Iterator[Point]:
    names = (
        "model",
        "workload",
        "release",
        "profile",
        "prefix_caching",
        "accelerator",
        "gpus",
        "serving",
        "backend",
    )
    for values in product(*(getattr(more, name) or getattr(axes, name) for name in names)):
        one = dict(zip(names, values, strict=True))
        workload = workloads[one["workload"]]
        for system_prompt in more.system_prompt or axes.system_prompt or workload.system_prompts:
            for users in more.users or axes.users or workload.users:
                yield Point(
                    **one,
                    users=users,
                    system_prompt=system_prompt,
                    extra_args=more.extra_args or axes.extra_args.get(one["backend"], ()),
                    duration_s=more.duration_s or axes.duration_s,
                )


def _excluding(matrix: Matrix, point: Point) -> Exclude | None:
    return next((pattern for pattern in matrix.exclude if pattern.matches(point)), None)
