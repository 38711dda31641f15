"""What a cell came to. `METHOD` is bumped by any change that can move a number."""

from __future__ import annotations

from datetime import date
from enum import Enum

from pydantic import Field

from backends.contract import FailureCause, Value
from orchestrator.domain.article import Article
from orchestrator.domain.cell import Cell
from orchestrator.domain.cleanroom import Cleared
from orchestrator.domain.content import Content
from orchestrator.domain.evidence import NOBODY_LOOKED, Evidence
from orchestrator.domain.metrics import Metrics
from orchestrator.domain.provenance import Provenance
from orchestrator.domain.verdict import Verdict
from orchestrator.domain.windows import Span

METHOD = 3
SCHEMA = 3


class Phase(str, Enum):
    """The phases of a cell group; each has a deadline and a ledger entry."""

    IMAGE = "image"
    WEIGHTS = "weights"
    STEPS = "steps"
    GATE = "gate"
    UP = "up"
    READY = "ready"
    WARMUP = "warm-up"
    MEASURE = "measure"
    DOWN = "down"


class Waived(Value):
    """That a failure was known, and accepted until a day."""

    reason: str
    until: date


class Failure(Value):
    """Why a cell has no figures. `skipped`: it was not tried, since its like had failed so before. `waived`: it was
    expected, and is no reason to call anybody."""

    phase: Phase
    cause: FailureCause
    message: str
    hint: str = ""
    log_tail: str = ""
    skipped: bool = False
    waived: Waived | None = None


class TelemetrySummary(Value):
    """Means and maxima over the steady window, by series name."""

    mean: dict[str, float] = Field(default_factory=dict)
    max: dict[str, float] = Field(default_factory=dict)


class StepRecord(Value):
    """What a step, or the weights, cost: now, or when it was made if it came from the cache. `key` is the
    address of what it made; memory is None for what is made within levelbench itself."""

    id: str
    key: str
    cached: bool
    wall_s: float
    peak_memory_bytes: int | None = None
    output_bytes: int


class Placed(Value):
    """Which of several hosts measured a cell, and in which attempt. It names the host, for the people whose hosts
    they are: an export leaves it out."""

    host: str
    attempt: str


class Result(Value):
    """A cell's end: metrics and verdict, or a failure. Never both."""

    schema_version: int = SCHEMA
    method: int = METHOD
    cell: Cell
    started_at: str = Field(description="wall clock, UTC, ISO 8601; for people, never for arithmetic")
    span: Span | None = Field(default=None, description="on the clock of the raw records")
    metrics: Metrics | None = None
    evidence: Evidence = NOBODY_LOOKED
    verdict: Verdict | None = None
    article: Article | None = None
    telemetry: TelemetrySummary = TelemetrySummary()
    provenance: Provenance | None = None
    content: Content | None = Field(
        default=None, description="what a later run must share to reuse this cell"
    )
    placed: Placed | None = None
    failure: Failure | None = None
    gate: Cleared | None = Field(default=None, description="the host before the deployment")
    steps: tuple[StepRecord, ...] = ()
    notes: tuple[str, ...] = Field(default=(), description="what a reader must know of how it was measured")
    phases_s: dict[Phase, float] = Field(default_factory=dict)

    @property
    def is_sound(self) -> bool:
        """Whether it has figures that its own verdict does not call invalid: those are as good as none."""
        return self.metrics is not None and (self.verdict is None or not self.verdict.is_invalid)
