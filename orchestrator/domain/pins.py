"""What a run must find again before it may be held against an earlier one. Pure.

Weights and prompts that are not the same make another measurement: nothing is sent. Everything else that differs
is named (orchestrator/domain/differences.py) and measured.
"""

from __future__ import annotations

from collections.abc import Iterable

from backends.contract import Value
from orchestrator.domain.cell import RuntimeKind
from orchestrator.domain.provenance import Provenance
from orchestrator.domain.result import METHOD, SCHEMA, Result


class Pin(Value):
    """One thing that was pinned: what it was, and what there is; None where that shows only later."""

    name: str
    pinned: str
    found: str | None
    must_hold: bool = False

    @property
    def holds(self) -> bool | None:
        return None if self.found is None else self.found == self.pinned

    @property
    def text(self) -> str:
        if self.found is None:
            return f"{self.name}: {self.pinned}, looked at before the load"
        return f"{self.name}: {self.pinned}" + ("" if self.holds else f", but here it is {self.found}")


def of_method(results: Iterable[Result]) -> tuple[Pin, ...]:
    """Whether results were measured and written as this version does it."""
    every = list(results)
    methods = sorted({result.method for result in every})
    schemas = sorted({result.schema_version for result in every})
    return (
        Pin(name="client METHOD", pinned=_words(methods), found=str(METHOD), must_hold=True),
        Pin(name="SCHEMA", pinned=_words(schemas), found=str(SCHEMA), must_hold=True),
    )


def of_provenance(pinned: Provenance, found: Provenance) -> tuple[Pin, ...]:
    """What an engine that is up shows, right before the load."""
    return (
        Pin(
            name="weights",
            pinned=pinned.weights_digest or "unknown",
            found=found.weights_digest or "unknown",
            must_hold=True,
        ),
        Pin(name="prompts", pinned=pinned.prompts_digest, found=found.prompts_digest, must_hold=True),
        Pin(name="engine version", pinned=pinned.engine_version, found=found.engine_version, must_hold=True),
        *_image(pinned, found),
        Pin(name="levelbench", pinned=pinned.levelbench, found=found.levelbench),
    )


def _image(pinned: Provenance, found: Provenance) -> tuple[Pin, ...]:
    """A venv has the digest of its packages. An image that is built again has another digest each time; what it is
    built from has not."""
    if pinned.image is None or found.image is None:
        return ()
    if pinned.runtime is RuntimeKind.PROCESS is found.runtime:
        return (Pin(name="installed packages", pinned=pinned.image.digest, found=found.image.digest),)
    if pinned.image.base_digest and found.image.base_digest:
        return (Pin(name="base image", pinned=pinned.image.base_digest, found=found.image.base_digest),)
    return ()


def _words(numbers: Iterable[int]) -> str:
    return " and ".join(map(str, numbers))
