"""What load a cell gets: users, ramp, duration, prompts, sampling. Times in seconds."""

from __future__ import annotations

import math
from enum import Enum

from pydantic import Field, model_validator

from backends.contract import Value

ARTICLE_LENGTHS = (30, 150)


class PromptSource(str, Enum):
    """Where prompts come from. AUTO takes dolly-15k where its exact file is at hand, else our own set. FILE is
    any JSONL file."""

    OWN = "own"
    DOLLY = "dolly"
    AUTO = "auto"
    FILE = "file"


class SystemPrompt(str, Enum):
    """Whether requests carry the common system prompt."""

    WITHOUT = "without"
    WITH = "with"


EVERY_LENGTH = (0, math.inf)


class PromptSpec(Value):
    """Which prompts are drawn: those between the two lengths, in tokens of the model's tokenizer. Unless they
    are given they are the article's for the sets that come with levelbench, and none for a person's own."""

    source: PromptSource = PromptSource.AUTO
    path: str | None = None
    min_tokens: int | None = None
    max_tokens: int | None = None
    seed: int = 20240605

    @property
    def bounds(self) -> tuple[int, float]:
        low, high = EVERY_LENGTH if self.source is PromptSource.FILE else ARTICLE_LENGTHS
        return (
            low if self.min_tokens is None else self.min_tokens,
            high if self.max_tokens is None else self.max_tokens,
        )

    @model_validator(mode="after")
    def _has_what_it_needs(self) -> PromptSpec:
        if (self.path is not None) != (self.source is PromptSource.FILE):
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
    """A closed loop: each user sends, reads to the end, thinks, sends again.

    User k of N starts at `ramp_s * k / N`. Measuring ends `duration_s` after the start of the ramp when
    `ramp_inside` is true (the article's way), else after its end. `stall_s` is the longest silence
    within a stream and `request_s` the longest request; both are failures, never waited out.
    """

    id: str
    title: str
    users: tuple[int, ...]
    ramp_s: float = Field(gt=0)
    duration_s: float = Field(gt=0)
    ramp_inside: bool = False
    think_s: float = Field(default=0.01, ge=0)
    warmup_requests: int = Field(default=4, ge=1)
    window_s: float = Field(default=5.0, gt=0)
    stall_s: float = Field(default=60.0, gt=0)
    request_s: float = Field(default=600.0, gt=0)
    system_prompts: tuple[SystemPrompt, ...] = (SystemPrompt.WITHOUT,)
    prompts: PromptSpec = PromptSpec()
    sampling: Sampling = Sampling()

    @property
    def length_s(self) -> float:
        """Seconds from the first user's start to the end of measuring."""
        return self.duration_s if self.ramp_inside else self.ramp_s + self.duration_s
