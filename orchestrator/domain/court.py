"""What published statements are judged with: what was measured, and the publication's own setting. Pure.

Figures are those of the article's own client where the workload gave them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from backends import NATIVE
from backends.contract import Accelerator, Profile, Value
from orchestrator.domain.claim import (
    ANY,
    Address,
    Claim,
    Conditions,
    Correlation,
    Part,
    Predicate,
    Ratio,
    addresses,
)
from orchestrator.domain.differences import Area, differences
from orchestrator.domain.pairs import is_suspect, usable
from orchestrator.domain.reading import Figure, Reading, read, read_literal
from orchestrator.domain.result import METHOD, Result
from orchestrator.domain.ruling import Ruling, decide, worst


class Setting(Value):
    """What a publication measured with, as far as figures depend on it."""

    release: str
    profile: Profile
    workload: str
    users: tuple[int, ...]
    ramp_s: float
    duration_s: float
    gpu: str
    gpu_memory_bytes: tuple[int, int]


class Exhibit(Value):
    """A figure that a ruling rests on: of which run and cell, as its client would have had it and as we have it."""

    run: str
    cell: str
    address: str
    figure: Figure
    value: float
    low: float | None = None
    high: float | None = None
    ours: float | None = None
    suspect: bool = False


class PartRuling(Value):
    """One part of a claim. `would_be` is what its figures say where they may not be compared."""

    words: str
    reading: str = ""
    ruling: Ruling
    would_be: Ruling | None = None
    reasons: tuple[str, ...] = ()
    statement: str = ""
    exhibits: tuple[Exhibit, ...] = ()


class ClaimRuling(Value):
    """The whole claim: not reproduced if one part is not, reproduced only if all are."""

    claim: Claim
    ruling: Ruling
    parts: tuple[PartRuling, ...]


@dataclass(frozen=True, slots=True)
class Measured:
    """A result and the run that it is of."""

    run: str
    result: Result


@dataclass(frozen=True, slots=True)
class Court:
    """What claims are judged with: everything measured, the newest first; the publication's setting; and which
    models a name stands for."""

    measured: Sequence[Measured]
    setting: Setting
    models: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def rule(self, claim: Claim) -> ClaimRuling:
        parts = tuple(self._part(claim.conditions, part) for part in claim.parts)
        return ClaimRuling(claim=claim, ruling=worst([part.ruling for part in parts]), parts=parts)

    def find(self, address: Address, conditions: Conditions) -> Measured | None:
        """The newest result of a cell that has figures, one under the publication's conditions before any other."""
        fitting = [m for m in self.measured if self._is(m.result, address) and m.result.method == METHOD]
        with_figures = [m for m in fitting if not usable(m.result)]
        if conditions is Conditions.PUBLISHED:
            with_figures.sort(
                key=lambda m: bool(incomparable(m.result, self.setting))
            )  # stable: the newest first
        return next(iter(with_figures or fitting), None)

    def _part(self, conditions: Conditions, part: Part) -> PartRuling:
        found = self._tested(conditions, part.test)
        reasons = found.reasons
        ruling = found.ruling
        if conditions is Conditions.PUBLISHED and ruling is not Ruling.NOT_MEASURED:
            spoilt = dict.fromkeys(r for m in found.results for r in incomparable(m.result, self.setting))
            reasons = (*spoilt, *reasons)
            ruling = Ruling.NOT_COMPARABLE if spoilt else ruling
        return PartRuling(
            words=part.words,
            reading=part.reading,
            ruling=ruling,
            would_be=found.ruling if ruling is Ruling.NOT_COMPARABLE else None,
            reasons=reasons,
            statement=found.statement,
            exhibits=found.exhibits,
        )

    def _tested(self, conditions: Conditions, test: Predicate) -> _Found:
        every = self._expanded(test, conditions)
        missing = [str(a) for a, m in every.items() if m is None]
        if missing or not every:
            words = f"not measured: {', '.join(missing)}" if missing else "no such cell was measured"
            return _Found(Ruling.NOT_MEASURED, reasons=(words,))
        known = {a: m for a, m in every.items() if m is not None}
        faults = [f"{a}: {usable(m.result)}" for a, m in known.items() if usable(m.result)]
        if faults:
            return _Found(Ruling.NOT_MEASURED, reasons=tuple(faults))
        return _test(test, known)

    def _expanded(self, test: Predicate, conditions: Conditions) -> dict[Address, Measured | None]:
        if isinstance(test, Ratio) and not test.cell.is_one:
            return self._matched(test, conditions)
        found: dict[Address, Measured | None] = {}
        for address in addresses(test):
            ones = (address,) if address.is_one else self._fitting(address)
            known = {one: self.find(one, conditions) for one in ones}
            found |= known if address.is_one else self._comparable(known, conditions)
        return found

    def _comparable(
        self, known: Mapping[Address, Measured | None], conditions: Conditions
    ) -> Mapping[Address, Measured | None]:
        """Of what an address with `*` stands for, that which may be held against the publication, if any may: other
        engines and releases that happen to be there too do not count."""
        if conditions is Conditions.ANY:
            return known
        fit = {a: m for a, m in known.items() if m and not incomparable(m.result, self.setting)}
        return fit or known

    def _matched(self, test: Ratio, conditions: Conditions) -> dict[Address, Measured | None]:
        """Both sides of every measured cell that has a partner behind the other serving layer, of one
        machine."""
        found: dict[Address, Measured | None] = {}
        for one in self._fitting(test.cell):
            partner = one.model_copy(update={"serving": test.to.serving})
            mine = self.find(one, conditions)
            theirs = self.find(partner, conditions)
            if mine and theirs and _same_machine(mine.result, theirs.result):
                found |= {one: mine, partner: theirs}
        return found

    def _fitting(self, address: Address) -> tuple[Address, ...]:
        """The single cells among what was measured that an address with `*` stands for."""
        known = dict.fromkeys(
            Address(
                model=address.model if address.model != ANY else m.result.cell.group.compared_as,
                backend=m.result.cell.group.backend,
                users=m.result.cell.load.users,
                system_prompt=address.system_prompt,
                serving=address.serving,
            )
            for m in self.measured
            if self._is(m.result, address)
        )
        return tuple(known)

    def _is(self, result: Result, address: Address) -> bool:
        group, load = result.cell.group, result.cell.load
        names = (address.model, *self.models.get(address.model, ()))
        return (
            (address.model == ANY or group.compared_as in names or group.model in names)
            and address.backend in (ANY, group.backend)
            and address.users in (None, load.users)
            and load.system_prompt is address.system_prompt
            and serving(result) == address.serving
        )


def serving(result: Result) -> str:
    """The layer that stands before the engine; `native` where there is none."""
    layer = result.cell.group.serving
    return layer.name if layer is not None else NATIVE


def incomparable(result: Result, setting: Setting) -> tuple[str, ...]:
    """Why a result may not be held against the publication's figures; empty if it may."""
    group, load = result.cell.group, result.cell.group.workload
    checks = {
        f"release {group.release} instead of {setting.release}": group.release == setting.release,
        f"profile {_word(group.profile)} instead of {setting.profile.value}": group.profile
        is setting.profile,
        f"workload {load.id} instead of {setting.workload}": load.id == setting.workload,
        f"measured for {load.length_s:g} s instead of {setting.duration_s:g} s": load.length_s
        == setting.duration_s,
        f"a ramp of {load.ramp_s:g} s instead of {setting.ramp_s:g} s": load.ramp_s == setting.ramp_s,
        **_hardware(result, setting),
        f"options of its own: {' '.join(group.extra_args)}": not group.extra_args,
    }
    return tuple(text for text, holds in checks.items() if not holds)


def published_reading(result: Result, figure: Figure) -> Reading | None:
    """As the article's client would have had it; ours where nobody asked for that."""
    return read_literal(result, figure) or read(result, figure)


def exhibit(address: Address, measured: Measured, figure: Figure) -> Exhibit | None:
    """A figure as evidence; None where it does not exist."""
    literal, ours = published_reading(measured.result, figure), read(measured.result, figure)
    if literal is None:
        return None
    return Exhibit(
        run=measured.run,
        cell=measured.result.cell.id,
        address=str(address),
        figure=figure,
        value=literal.value,
        low=literal.low,
        high=literal.high,
        ours=None if ours is None else ours.value,
        suspect=is_suspect(measured.result),
    )


@dataclass(frozen=True, slots=True)
class _Found:
    """What a predicate came to, and what that rests on."""

    ruling: Ruling
    reasons: tuple[str, ...] = ()
    statement: str = ""
    exhibits: tuple[Exhibit, ...] = ()
    results: tuple[Measured, ...] = ()


def _test(test: Predicate, known: Mapping[Address, Measured]) -> _Found:
    figures = (test.figure, test.other) if isinstance(test, Correlation) else (test.figure,)
    shown = [exhibit(a, m, figure) for a, m in known.items() for figure in figures]
    missing = [
        str(a) for (a, _), e in zip([(a, f) for a in known for f in figures], shown, strict=True) if e is None
    ]
    exhibits = tuple(e for e in shown if e is not None)
    results = tuple(known.values())
    if missing:
        words = f"without {' or '.join(f.value for f in figures)}: {', '.join(dict.fromkeys(missing))}"
        return _Found(Ruling.NOT_MEASURED, (words,), exhibits=exhibits, results=results)
    readings = {
        figure: {a: r for a, m in known.items() if (r := published_reading(m.result, figure)) is not None}
        for figure in figures
    }
    ruling, statement = decide(test, readings)
    return _Found(ruling, (), statement, exhibits, results)


def _hardware(result: Result, setting: Setting) -> dict[str, bool]:
    if result.cell.group.accelerator is not Accelerator.CUDA:
        return {f"measured on {_word(result.cell.group.accelerator)}, not on one {setting.gpu}": False}
    gpus = () if result.provenance is None else result.provenance.host.gpus[:1]
    if not gpus:
        return {"which GPU it was measured on is not known": False}
    least, most = setting.gpu_memory_bytes
    fits = setting.gpu in gpus[0].name and least <= gpus[0].memory_bytes <= most
    there = f"{gpus[0].name} with {gpus[0].memory_bytes / 2**30:.0f} GiB"
    return {f"measured on {there}, not on one {setting.gpu} of about {least / 2**30:.0f} GiB": fits}


def _same_machine(first: Result, second: Result) -> bool:
    return not any(d.area is Area.HARDWARE for d in differences(first, second))


def _word(value: Enum | None) -> str:
    return "unknown" if value is None else str(value.value)
