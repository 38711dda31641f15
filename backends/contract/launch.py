"""How a command of an engine is run: to serve, or as a step before that. Plain JSON with placeholders.

Where a value depends on the place where the command will live, argv, env and files carry a placeholder
which the runtime fills in:
`{model}` the weights' folder · `{step:ID}` the output folder of an earlier step · `{config}` the folder of
`files` · `{files}` the folder of the build's context programs · `{out}` a step's own output folder ·
`{bind}` and `{port}` where to listen.
Behind a serving layer: `{engine_port}` where the engine listens · `{layer}` the layer's own environment.
"""

from __future__ import annotations

import re
from enum import Enum

from pydantic import Field

from backends.contract.release import ImageSpec
from backends.contract.values import Value, WeightsFormat

# How long an engine may take to stop: a service manager that stops a whole run has to wait for that
LONGEST_STOP_S = 120.0

_STEP = re.compile(r"\{step:([\w-]+)\}")


class Mount(str, Enum):
    """A folder that must be writable while the root is read-only."""

    TMP = "/tmp"  # noqa: S108 - a path inside the container
    CACHE = "/cache"


class SpecFile(Value):
    """A small text file that a command gets, at `{config}/path`; its text may hold placeholders."""

    path: str
    text: str


class OptionsRef(Value):
    """`argv[start:]` is checked against the option list `name` (backends/options/<name>.json)."""

    name: str
    start: int = Field(ge=0)


class Launch(Value):
    """What a command needs wherever it runs: argv, never a shell string. Times in seconds."""

    argv: tuple[str, ...]
    options: OptionsRef | None = None
    env: dict[str, str] = Field(default_factory=dict)
    files: tuple[SpecFile, ...] = ()
    shared_memory_bytes: int = 64 * 2**20
    ulimits: dict[str, int] = Field(default_factory=dict)
    writable: tuple[Mount, ...] = (Mount.TMP,)
    read_only_root: bool = True
    user: str | None = "1000:1000"

    @property
    def step_inputs(self) -> tuple[str, ...]:
        """Ids of the steps whose output it reads, as its placeholders name them."""
        texts = (*self.argv, *self.env.values(), *(file.text for file in self.files))
        return tuple(dict.fromkeys(name for text in texts for name in _STEP.findall(text)))


class ServeSpec(Launch):
    """How an engine is started. `weights` is the format that it reads. `engine_port` is the engine's own where
    a serving layer listens on `port`."""

    port: int
    weights: WeightsFormat
    stop_s: float = Field(default=10.0, le=LONGEST_STOP_S)
    engine_port: int | None = None


class FrontSpec(Launch):
    """How a service before an engine is started."""

    port: int


class StepSpec(Launch):
    """A command that makes an artifact out of read-only inputs before the engine can serve: convert, build,
    compile, quantise.

    It runs in the engine's own image unless it names one. The output is what stands in `{out}` when it has
    ended with 0 and each of `produces` (globs) matches a file there. With `gpu` it runs on the GPU and its
    output is bound to the GPU's architecture and memory, which are then part of its address; unless it is
    `portable`: made on a GPU, of use on any. `output_bytes` and `memory_bytes` are estimates for plan and
    preflight.
    """

    id: str = Field(pattern=r"^[a-z][a-z0-9-]*$")
    title: str
    image: ImageSpec | None = None
    gpu: bool = False
    portable: bool = False
    produces: tuple[str, ...] = Field(min_length=1)
    deadline_s: float
    output_bytes: int
    memory_bytes: int = 0


class ReadySpec(Value):
    """How an engine says that it serves, and the log lines that mean that it never will though it lives.

    `models_path` is where it lists what it serves by the name that we gave; None where it has no such list
    or lists a path of its own.
    """

    health_path: str
    models_path: str | None = "/v1/models"
    deadline_s: float
    fatal: tuple[str, ...] = ()


class Readback(Value):
    """A setting in force: a pattern whose first group is the value, over the engine's log or, where `path`
    is given, over what a GET of it answers."""

    name: str
    pattern: str
    path: str | None = None


class PrefixCache(Value):
    """What a release can do about the reuse of common beginnings.

    `default_on` is None where the engine has no such cache. `reset_path` is where a POST empties it between
    loads; it needs what `serve` sets for it.
    """

    default_on: bool | None
    can_switch: bool = True
    reset_path: str | None = None


class Gauge(str, Enum):
    """An engine's own figures that we follow, whatever the engine calls them."""

    RUNNING = "running"
    WAITING = "waiting"
    KV_USE = "kv_use"
    GENERATED_TOKENS = "generated_tokens_total"
    PROMPT_TOKENS = "prompt_tokens_total"


class MetricsMap(Value):
    """Where an engine's Prometheus figures are and what it calls ours: by name, or by name and one label
    where a name has several meanings (`name{label="value"}`). `port` where it is not the engine's."""

    path: str
    names: dict[Gauge, str]
    port: int | None = None
