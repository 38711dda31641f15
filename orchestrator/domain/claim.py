"""A published statement as data: the cells it speaks of, and what must be true of their figures. Pure.

`orchestrator/domain/ruling.py` says whether it is true. The claims themselves: catalog/claims.toml.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Annotated, Literal

from pydantic import Field, model_validator

from backends import NATIVE
from backends.contract import Value
from orchestrator.domain.reading import Figure
from orchestrator.domain.workload import SystemPrompt

ANY = "*"
_ADDRESS = re.compile(
    r"(?P<model>[\w.*-]+)/(?P<backend>[\w*-]+)/(?:u(?P<users>[1-9]\d*)|\*)(?P<system>-sys)?(?:@(?P<serving>[\w-]+))?"
)


class Address(Value):
    """`model/backend/uUSERS`, `-sys` with the system prompt, `@LAYER` behind a serving layer. `*` is any."""

    model: str
    backend: str
    users: int | None = None
    system_prompt: SystemPrompt = SystemPrompt.WITHOUT
    serving: str = NATIVE

    @model_validator(mode="before")
    @classmethod
    def _parsed(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        found = _ADDRESS.fullmatch(value)
        if found is None:
            raise ValueError(f"{value!r} is no address of a cell: 8b/BACKEND/u100")
        return {
            "model": found["model"],
            "backend": found["backend"],
            "users": None if found["users"] is None else int(found["users"]),
            "system_prompt": SystemPrompt.WITH if found["system"] else SystemPrompt.WITHOUT,
            "serving": found["serving"] or NATIVE,
        }

    @property
    def is_one(self) -> bool:
        """Whether it names a single cell."""
        return ANY not in (self.model, self.backend) and self.users is not None

    def __str__(self) -> str:
        users = ANY if self.users is None else f"u{self.users}"
        system = "-sys" if self.system_prompt is SystemPrompt.WITH else ""
        serving = "" if self.serving == NATIVE else f"@{self.serving}"
        return f"{self.model}/{self.backend}/{users}{system}{serving}"

    def of(self, backend: str) -> Address:
        """The same cell of another backend."""
        return self.model_copy(update={"backend": backend})


class Best(str, Enum):
    """Which end of a ranking is meant."""

    HIGHEST = "highest"
    LOWEST = "lowest"


class Direction(str, Enum):
    """Where a trend leads with more users."""

    GROWS = "grows"
    FALLS = "falls"


class ValueAt(Value):
    """A figure is `value`, give or take a share `tolerance` of it."""

    kind: Literal["value"]
    figure: Figure
    cell: Address
    value: float = Field(gt=0)
    tolerance: float = Field(gt=0, lt=1)


class Threshold(Value):
    """A figure lies above one value, below another, or between the two."""

    kind: Literal["threshold"]
    figure: Figure
    cell: Address
    above: float | None = None
    below: float | None = None

    @model_validator(mode="after")
    def _has_an_end(self) -> Threshold:
        _require_an_end(self.above, self.below)
        return self


class Order(Value):
    """A cell is one of the first `places` among those of other backends with the same work."""

    kind: Literal["order"]
    figure: Figure
    cell: Address
    among: tuple[str, ...] = Field(min_length=1)
    best: Best
    places: int = Field(default=1, ge=1)

    @model_validator(mode="after")
    def _leaves_somebody_behind(self) -> Order:
        if self.places > len(self.among):
            raise ValueError(f"{self.places} places for {len(self.among) + 1} cells order nothing")
        if self.cell.backend in self.among:
            raise ValueError(f"{self.cell.backend} stands among its own rivals")
        return self


class Trend(Value):
    """A figure grows, or falls, from each cell to the next."""

    kind: Literal["trend"]
    figure: Figure
    cells: tuple[Address, ...] = Field(min_length=2)
    direction: Direction


class Ratio(Value):
    """A figure of one cell over that of another lies above one value, below another, or between the two. Where
    the addresses have `*`, of every two measured cells that are alike but for the serving layer."""

    kind: Literal["ratio"]
    figure: Figure
    cell: Address
    to: Address
    above: float | None = Field(default=None, gt=0)
    below: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _has_an_end(self) -> Ratio:
        _require_an_end(self.above, self.below)
        return self


class Correlation(Value):
    """Two figures rise together over these cells: Pearson's coefficient is at least `least`."""

    kind: Literal["correlation"]
    figure: Figure
    other: Figure
    cells: tuple[Address, ...] = Field(min_length=1)
    least: float = Field(gt=0, lt=1)


Predicate = Annotated[ValueAt | Threshold | Order | Trend | Ratio | Correlation, Field(discriminator="kind")]


class Conditions(str, Enum):
    """Under which a claim may be judged. PUBLISHED: release, profile, workload and GPU are the publication's. ANY:
    whatever was measured, of any release, profile and host."""

    PUBLISHED = "published"
    ANY = "any"


class Part(Value):
    """One sentence of a claim and the predicate that it comes to. `reading` says how its words were read where
    they leave a choice."""

    words: str
    reading: str = ""
    test: Predicate


class Claim(Value):
    """A statement of a publication, in our words. True only if each of its parts is."""

    id: str
    title: str
    paraphrase: str
    source: str
    conditions: Conditions = Conditions.PUBLISHED
    note: str = ""
    parts: tuple[Part, ...] = Field(min_length=1)

    @property
    def cells(self) -> tuple[Address, ...]:
        """Every cell that it needs, each once."""
        return tuple(dict.fromkeys(a for part in self.parts for a in addresses(part.test)))


class Confounder(Value):
    """A known reason why figures of a publication may differ from ours, or be unlike one another. Empty `backends`
    or `models` are all of them."""

    id: str
    text: str
    source: str
    backends: tuple[str, ...] = ()
    models: tuple[str, ...] = ()

    def touches(self, address: Address) -> bool:
        return _named(address.backend, self.backends) and _named(address.model, self.models)


def addresses(test: Predicate) -> tuple[Address, ...]:
    """The cells that a predicate speaks of."""
    if isinstance(test, Trend | Correlation):
        return test.cells
    if isinstance(test, Order):
        return (test.cell, *(test.cell.of(backend) for backend in test.among))
    return (test.cell, test.to) if isinstance(test, Ratio) else (test.cell,)


def _named(name: str, names: tuple[str, ...]) -> bool:
    return not names or name == ANY or name in names


def _require_an_end(above: float | None, below: float | None) -> None:
    if above is None and below is None:
        raise ValueError("neither `above` nor `below` is given")
    if above is not None and below is not None and above >= below:
        raise ValueError("`above` must be less than `below`")
