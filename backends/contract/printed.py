"""What the published benchmark's own table said of an engine."""

from __future__ import annotations

from enum import Enum

from pydantic import Field

from backends.contract.values import Value


class Column(str, Enum):
    """Of the qualitative table. The last is the article's judgement; ours counts what there is to do."""

    QUANTIZATION = "quantisation"
    HARDWARE = "hardware"
    RELEASES = "releases"
    COMPILE_STEP = "compile step"
    EFFORT = "effort"


class Printed(Value):
    """The engine's row, in our words. `differs` says, by column, where the code of that release says otherwise
    (sources: the release's `Facts`)."""

    quantization: str
    hardware: str
    releases: str
    compile_step: str
    effort: str
    differs: dict[Column, str] = Field(default_factory=dict)
