"""Results that somebody published, and what a run of ours says of one. Pure.

Addresses: PUBLICATION/MODEL/BACKEND/uUSERS, with `-sys` behind it for the system prompt. Catalogue: published.toml.
"""

from __future__ import annotations

from enum import Enum

from pydantic import Field, model_validator

from backends import NATIVE
from backends.contract import Deviation, Value
from orchestrator.domain.claim import Address, Confounder
from orchestrator.domain.court import (
    ClaimRuling,
    Exhibit,
    Measured,
    Setting,
    exhibit,
    incomparable,
    published_reading,
)
from orchestrator.domain.differences import Area, Difference, between
from orchestrator.domain.pairs import Comparison, usable
from orchestrator.domain.reading import Figure
from orchestrator.domain.result import Result
from orchestrator.domain.ruling import Ruling, inside, worst
from orchestrator.domain.workload import SystemPrompt


class Precision(str, Enum):
    """How a figure was published: as it was printed, as a round number, as a range, as a bound, or as words that
    only point to another figure."""

    EXACT = "exact"
    ROUNDED = "rounded"
    RANGE = "range"
    BOUND = "bound"
    PROSE = "prose"


class PublishedFigure(Value):
    """What a publication states of a cell, in the unit of the figure's name."""

    cell: Address
    figure: Figure
    precision: Precision
    above: float | None = None
    below: float | None = None
    words: str
    claim: str

    @model_validator(mode="after")
    def _has_an_end(self) -> PublishedFigure:
        if self.above is None and self.below is None:
            raise ValueError("a figure needs `above` or `below`")
        return self


class Facts(Value):
    """What a publication says that it measured with, in words; `versions` by backend."""

    machine: str
    gpu: str
    driver: str
    serving_layer: str
    client: str
    prompts: str
    system_prompt: str
    versions: dict[str, str]


class Publication(Value):
    """What was published, and under which setting."""

    id: str
    title: str
    source: str
    setting: Setting
    facts: Facts
    models: tuple[str, ...] = Field(min_length=1)
    backends: tuple[str, ...] = Field(min_length=1)
    figures: tuple[PublishedFigure, ...] = ()

    def of(self, cell: Address) -> tuple[PublishedFigure, ...]:
        return tuple(figure for figure in self.figures if figure.cell == cell)


class FigureRuling(Value):
    """A published figure against the measured one."""

    published: PublishedFigure
    ruling: Ruling
    exhibit: Exhibit | None = None


class PublishedRuling(Value):
    """What a run says of a published result. `would_be` is what the figures alone say where they may not be
    compared; `measured` are all figures of the cell, published or not; `unmet` is what the adapter says was not done
    as the publication's service did it."""

    result: str
    run: str | None
    ruling: Ruling
    would_be: Ruling | None = None
    reasons: tuple[str, ...] = ()
    figures: tuple[FigureRuling, ...] = ()
    measured: tuple[Exhibit, ...] = ()
    provenance: tuple[Difference, ...] = ()
    unmet: tuple[Deviation, ...] = ()
    confounders: tuple[Confounder, ...] = ()
    claims: tuple[ClaimRuling, ...] = ()
    matched: Comparison | None = None


SHOWN = (
    Figure.TOKEN_RATE,
    Figure.TTFT_MEAN,
    Figure.TTFT_P50,
    Figure.TTFT_P95,
    Figure.TTFT_P99,
    Figure.GPU_BUSY,
)


def rule(publication: Publication, cell: Address, measured: Measured | None) -> PublishedRuling:
    """Held against the figures that were published of the cell; the rest is filled in by whoever knows it."""
    name = f"{publication.id}/{cell}"
    figures = publication.of(cell)
    if measured is None or usable(measured.result):
        why = "this cell was not measured" if measured is None else usable(measured.result)
        nothing = tuple(FigureRuling(published=f, ruling=Ruling.NOT_MEASURED) for f in figures)
        run = None if measured is None else measured.run
        return PublishedRuling(
            result=name, run=run, ruling=Ruling.NOT_MEASURED, reasons=(why,), figures=nothing
        )
    found = tuple(_ruled(figure, cell, measured) for figure in figures)
    spoilt = incomparable(measured.result, publication.setting)
    on_figures = worst([f.ruling for f in found]) if found else None
    silent = () if figures else ("no figure was published of this cell, only words: see the claims",)
    is_comparable = not spoilt and on_figures is not None
    return PublishedRuling(
        result=name,
        run=measured.run,
        ruling=on_figures if is_comparable and on_figures is not None else Ruling.NOT_COMPARABLE,
        would_be=None if is_comparable else on_figures,
        reasons=(*spoilt, *silent),
        figures=found,
        measured=tuple(e for figure in SHOWN if (e := exhibit(cell, measured, figure)) is not None),
        provenance=_provenance(publication, cell, measured.result),
    )


def _provenance(publication: Publication, cell: Address, result: Result) -> tuple[Difference, ...]:
    """What the publication states, beside what ours was: where it states nothing too."""
    theirs, group, p = publication.facts, result.cell.group, result.provenance
    gpus = () if p is None else p.host.gpus[:1]
    gpu = f"{gpus[0].name}, {gpus[0].memory_bytes / 2**30:.0f} GiB" if gpus else "none"
    ours = {
        (Area.METHOD, "client"): "levelbench"
        if p is None
        else f"levelbench {p.levelbench}, METHOD {result.method}",
        (Area.WORK, "prompts"): "unknown"
        if p is None
        else f"{p.prompts_name}, seed {group.workload.prompts.seed}",
        (Area.WORK, "system prompt"): "levelbench's copy of the same text",
        (Area.HARDWARE, "machine"): "unknown" if p is None else f"{p.host.cpu}, {p.host.cpus} cores",
        (Area.HARDWARE, "GPU"): gpu,
        (Area.ENGINE, "engine version"): group.version,
        (Area.SETTINGS, "serving layer"): str(group.serving or NATIVE),
        (Area.SOFTWARE, "GPU driver"): gpus[0].driver if gpus else "none",
    }
    stated = {
        (Area.METHOD, "client"): theirs.client,
        (Area.WORK, "prompts"): theirs.prompts,
        (Area.WORK, "system prompt"): theirs.system_prompt,
        (Area.HARDWARE, "machine"): theirs.machine,
        (Area.HARDWARE, "GPU"): theirs.gpu,
        (Area.ENGINE, "engine version"): theirs.versions.get(cell.backend, "not stated"),
        (Area.SETTINGS, "serving layer"): theirs.serving_layer,
        (Area.SOFTWARE, "GPU driver"): theirs.driver,
    }
    skipped = (Area.WORK, "system prompt") if cell.system_prompt is SystemPrompt.WITHOUT else None
    return between(
        {key: value for key, value in stated.items() if key != skipped},
        {key: value for key, value in ours.items() if key != skipped},
    )


def _ruled(figure: PublishedFigure, cell: Address, measured: Measured) -> FigureRuling:
    reading = published_reading(measured.result, figure.figure)
    ruling = Ruling.NOT_MEASURED if reading is None else inside(reading, figure.above, figure.below)
    return FigureRuling(published=figure, ruling=ruling, exhibit=exhibit(cell, measured, figure.figure))
