"""What load a cell gets: users, ramp, duration, prompts, sampling. Times in seconds."""

from __future__ import annotations

import math
from enum import Enum

from pydantic import Field, PositiveFloat, model_validator

from backends.contract import Value
from orchestrator.domain.request import Slo

ARTICLE_LENGTHS = (30, 150)


class PromptSource(str, Enum):
    """Where prompts come from. AUTO takes dolly-15k where its exact file is at hand, else our own set. FILE is
    any JSONL file of prompts, HUB a file of a data set on the Hugging Face hub, SESSIONS a file of conversations, of
    which a user runs through one turn by turn, TRACE one of lengths and arrivals. SYNTHETIC prompts are made of the
    model's tokenizer."""

    OWN = "own"
    DOLLY = "dolly"
    AUTO = "auto"
    FILE = "file"
    HUB = "hub"
    SESSIONS = "sessions"
    TRACE = "trace"
    SYNTHETIC = "synthetic"


class SystemPrompt(str, Enum):
    """Whether requests carry the common system prompt."""

    WITHOUT = "without"
    WITH = "with"


class Arrivals(str, Enum):
    """When the requests of an open loop are due, whatever became of those before. CONSTANT: evenly. POISSON: as if
    each came from somebody else, exponential gaps, seeded. TRACE: as recorded in the trace that the prompts are
    from."""

    CONSTANT = "constant"
    POISSON = "poisson"
    TRACE = "trace"


EVERY_LENGTH = (0, math.inf)
_SETS = (PromptSource.OWN, PromptSource.DOLLY, PromptSource.AUTO)
_FROM_PATH = (PromptSource.FILE, PromptSource.HUB, PromptSource.SESSIONS, PromptSource.TRACE)
_IN_COLUMNS = (PromptSource.FILE, PromptSource.HUB)


class Lengths(Value):
    """Numbers of tokens: all `mean`, or normally distributed around it and cut at the bounds. A plain number is
    the mean."""

    mean: int = Field(ge=1)
    stdev: float = Field(default=0.0, ge=0)
    min: int = Field(default=1, ge=1)
    max: int | None = None

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, value: object) -> object:
        return {"mean": value} if isinstance(value, int) else value


class PromptSpec(Value):
    """Which prompts are drawn: those between the two lengths, in tokens of the model's tokenizer. Unless they
    are given they are the article's for the sets that come with levelbench, and none for a person's own.

    `input_tokens`, `output_tokens` and `count` are those of SYNTHETIC prompts. `reuse` begins every load of a
    deployment with the same prompts; otherwise the next one goes on where the last one ended.

    `path` is a file here or, of HUB, one of the data set `repository` at `revision`; `column` is the one that holds the
    prompts of a FILE or of HUB where its name is none of the usual ones, and `rows` how many rows of HUB are read.
    """

    source: PromptSource = PromptSource.AUTO
    path: str | None = None
    repository: str | None = Field(default=None, pattern=r"^[\w.-]+/[\w.-]+$")
    revision: str = Field(default="main", pattern=r"^[\w./-]+$")
    column: str | None = None
    rows: int = Field(default=20_000, ge=1)
    input_tokens: Lengths | None = None
    output_tokens: Lengths | None = None
    count: int = Field(default=1024, ge=1)
    reuse: bool = False
    min_tokens: int | None = None
    max_tokens: int | None = None
    seed: int = 20240605

    @property
    def fixes_answers(self) -> bool:
        """Whether each prompt has an answer length of its own."""
        return self.output_tokens is not None or self.is_trace

    @property
    def is_trace(self) -> bool:
        return self.source is PromptSource.TRACE

    @property
    def bounds(self) -> tuple[int, float]:
        low, high = ARTICLE_LENGTHS if self.source in _SETS else EVERY_LENGTH
        return (
            low if self.min_tokens is None else self.min_tokens,
            high if self.max_tokens is None else self.max_tokens,
        )

    @model_validator(mode="after")
    def _has_what_it_needs(self) -> PromptSpec:
        if (self.input_tokens is None) is (self.source is PromptSource.SYNTHETIC):
            need = "need" if self.input_tokens is None else "have no"
            raise ValueError(f"prompts from {self.source.value} {need} input_tokens")
        if self.output_tokens is not None and self.source is not PromptSource.SYNTHETIC:
            raise ValueError(f"prompts from {self.source.value} have no output_tokens")
        if (self.repository is not None) != (self.source is PromptSource.HUB):
            need = "need a" if self.repository is None else "have no"
            raise ValueError(f"prompts from {self.source.value} {need} repository")
        if self.column is not None and self.source not in _IN_COLUMNS:
            raise ValueError(f"prompts from {self.source.value} have no column")
        if (self.path is not None) != (self.source in _FROM_PATH):
            raise ValueError(
                f"prompts from {self.source.value} {'need a' if self.path is None else 'have no'} path"
            )
        return self


class Sampling(Value):
    """What every request asks for, sent explicitly so that no engine falls back to its own default."""

    max_tokens: int = Field(default=512, ge=1)
    temperature: float = Field(default=1.0, ge=0)
    top_p: float = Field(default=1.0, gt=0, le=1)
    seed: int | None = None
    ignore_eos: bool = False


class Workload(Value):
    """A closed loop: each user sends, reads to the end, thinks, sends again; or, with `arrivals`, an open loop:
    requests are sent when they are due, `rates` of them a second, however long the answers take.

    User k of N starts at `ramp_s * k / N`; an open loop's rate rises evenly from 0 over `ramp_s`, but for a trace,
    which is kept to. A trace without `rates` has its own pace; with them its times are stretched. `max_in_flight` is
    how many requests of an open loop are in flight at most: what is due beyond that waits, and its wait counts.
    Measuring ends `duration_s` after the start of the ramp when
    `ramp_inside` is true (the article's way), else after its end. `stall_s` is the longest silence
    within a stream and `request_s` the longest request; both are failures, never waited out. With
    `as_article` the figures that the article's client would have printed are given too. `cuts_answers` says
    that `max_tokens` is meant to end answers, so that those which it ends are no fault. `slo` are limits: how many
    requests kept them is told.
    """

    id: str
    title: str
    users: tuple[int, ...] = ()
    rates: tuple[PositiveFloat, ...] = ()
    arrivals: Arrivals | None = None
    max_in_flight: int = Field(default=1024, ge=1)
    ramp_s: float = Field(gt=0)
    duration_s: float = Field(gt=0)
    ramp_inside: bool = False
    think_s: float = Field(default=0.01, ge=0)
    warmup_requests: int = Field(default=4, ge=1)
    window_s: float = Field(default=5.0, gt=0)
    stall_s: float = Field(default=60.0, gt=0)
    request_s: float = Field(default=600.0, gt=0)
    as_article: bool = False
    cuts_answers: bool = False
    slo: Slo | None = None
    system_prompts: tuple[SystemPrompt, ...] = (SystemPrompt.WITHOUT,)
    prompts: PromptSpec = PromptSpec()
    sampling: Sampling = Sampling()

    @model_validator(mode="after")
    def _answers_can_be_fixed(self) -> Workload:
        if self.prompts.fixes_answers and not self.sampling.ignore_eos:
            raise ValueError(
                "prompts with answer lengths of their own need sampling.ignore_eos (--ignore-eos)"
            )
        return self

    @model_validator(mode="after")
    def _is_one_kind_of_loop(self) -> Workload:
        source = self.prompts.source
        if self.arrivals is None:
            if self.rates or not self.users:
                raise ValueError("users, or rates with arrivals: a load is one or the other")
            return self
        if self.users:
            raise ValueError("users are for a closed loop; one with arrivals has rates")
        if self.as_article:
            raise ValueError("the article's protocol is a closed loop")
        if source is PromptSource.SESSIONS:
            raise ValueError("the turns of a session wait for each other: they need a closed loop")
        if self.arrivals is not Arrivals.TRACE and not self.rates:
            raise ValueError(f"{self.arrivals.value} arrivals need rates")
        if self.arrivals is Arrivals.TRACE and source is not PromptSource.TRACE:
            raise ValueError("arrivals of a trace need its prompts: prompts.source trace")
        return self

    @property
    def length_s(self) -> float:
        """Seconds from the first user's start to the end of measuring."""
        return self.duration_s if self.ramp_inside else self.ramp_s + self.duration_s
