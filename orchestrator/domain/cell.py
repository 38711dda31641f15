"""The unit of measurement: one release, model, profile and load; and the group that shares a deployment."""

from __future__ import annotations

import re
from enum import Enum

from backends.contract import Accelerator, Dialect, PrefixCaching, Profile, Value
from orchestrator.domain.workload import Arrivals, SystemPrompt, Workload


class RuntimeKind(str, Enum):
    """Where a deployment lives. PROCESS is a stated deviation. ENDPOINT is none of ours: it was up already."""

    DOCKER = "docker"
    PROCESS = "process"
    ENDPOINT = "endpoint"


class RuntimeChoice(str, Enum):
    """RUNTIME=: AUTO is docker wherever it can serve, else process with a word about why."""

    AUTO = "auto"
    DOCKER = "docker"
    PROCESS = "process"


class AcceleratorChoice(str, Enum):
    """ACCELERATOR=: AUTO is the GPU where there is one."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


class Role(str, Enum):
    """Why a group is measured. CONTROL is the same cheap cell again and again, which tells whether the host itself
    drifts. CONFIRM measures once more what looked like a change."""

    MEASURED = "measured"
    CONTROL = "control"
    CONFIRM = "confirm"


class Load(Value):
    """What distinguishes the cells of one deployment. In an open loop `users` is how many requests may be in flight,
    and `rate_per_s` how many are due a second; None is a trace's own pace."""

    users: int
    system_prompt: SystemPrompt
    arrivals: Arrivals | None = None
    rate_per_s: float | None = None

    @property
    def id(self) -> str:
        suffix = "" if self.system_prompt is SystemPrompt.WITHOUT else "-sys"
        if self.arrivals is None:
            return f"u{self.users}{suffix}"
        return f"{'trace' if self.rate_per_s is None else f'r{self.rate_per_s:g}'}{suffix}"

    @property
    def size(self) -> float:
        """What the loads of one workload are put in order by."""
        return self.users if self.arrivals is None else (self.rate_per_s or 0.0)


def loads(workload: Workload) -> tuple[Load, ...]:
    """Every load of a workload, in the order in which they run."""
    of = workload
    if of.arrivals is None:
        return tuple(Load(users=users, system_prompt=s) for s in of.system_prompts for users in of.users)
    return tuple(
        Load(users=of.max_in_flight, system_prompt=s, arrivals=of.arrivals, rate_per_s=rate)
        for s in of.system_prompts
        for rate in of.rates or (None,)
    )


class Serving(Value):
    """A serving layer before the engine, at a pinned release."""

    name: str
    title: str
    release: str
    version: str

    @property
    def id(self) -> str:
        return f"{self.name}-{self.release}"

    def __str__(self) -> str:
        return f"{self.title} {self.version}"


class CellGroup(Value):
    """All cells that one deployment serves, in the order in which they run. `family` is the name under which several
    engines' own forms of a model are compared; `gpus` says how many, or names them; `serving` is what stands before
    the engine's own server, None for nothing. Of an endpoint that was up already nobody knows the accelerator and the
    profile. `mark` tells it from other groups of the same run, where these fields do not."""

    backend: str
    release: str
    version: str
    accelerator: Accelerator | None
    model: str
    family: str | None = None
    profile: Profile | None
    prefix_caching: PrefixCaching = PrefixCaching.PROFILE
    extra_args: tuple[str, ...] = ()
    gpus: str = "1"
    runtime: RuntimeKind
    serving: Serving | None = None
    dialect: Dialect
    workload: Workload
    loads: tuple[Load, ...]
    role: Role = Role.MEASURED
    mark: str = ""

    @property
    def id(self) -> str:
        words = [self.backend, self.release, self.model]
        words += [self.profile.value] if self.profile else []
        words += [self.serving.id] if self.serving else []
        words += [self.mark] if self.mark else []
        return re.sub(r"[^\w.-]+", "-", "-".join(words))  # an endpoint's model may be called like a path

    @property
    def compared_as(self) -> str:
        return self.family or self.model

    @property
    def cells(self) -> tuple[Cell, ...]:
        return tuple(Cell(group=self, load=load) for load in self.loads)


class Cell(Value):
    """One measurement."""

    group: CellGroup
    load: Load

    @property
    def id(self) -> str:
        return f"{self.group.id}-{self.load.id}"
