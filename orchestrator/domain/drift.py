"""Whether the host itself drifted over a night: the control cell's figures, held against its first ones. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from backends.contract import Value
from orchestrator.domain.intervals import Bounds
from orchestrator.domain.result import Result


class Moved(Value):
    """A figure of the control cell whose 95 % interval no longer meets that of the first time."""

    cell: str
    figure: str
    first: float
    now: float

    @property
    def share(self) -> float:
        return self.now / self.first - 1 if self.first else 0.0

    def __str__(self) -> str:
        return f"{self.figure} of the control moved by {self.share:+.1%} ({self.cell}): the host has drifted"


def drift(controls: Sequence[Result]) -> tuple[Moved, ...] | None:
    """What moved, in the order of the night. None where fewer than two of them can be believed: nobody knows."""
    fit = [r for r in controls if r.metrics is not None and not (r.verdict and r.verdict.is_invalid)]
    if len(fit) < 2:  # noqa: PLR2004 - one figure cannot move
        return None
    first, *later = fit
    return tuple(moved for result in later for moved in _moved(first, result))


def told(controls: Sequence[Result]) -> tuple[str, ...]:
    """The same in words, also that nothing moved."""
    moved = drift(controls)
    if moved is None:
        return ("the control cell has too few figures: whether the host drifted is not known",)
    return tuple(str(one) for one in moved) or ("the control cell did not move: the host was steady",)


def _moved(first: Result, now: Result) -> list[Moved]:
    pairs = zip(_figures(first), _figures(now), strict=True)
    return [
        Moved(cell=now.cell.id, figure=name, first=value, now=other)
        for (name, value, bounds), (_, other, others) in pairs
        if value is not None and other is not None and _apart(bounds, others)
    ]


def _figures(result: Result) -> tuple[tuple[str, float | None, Bounds | None], ...]:
    m = result.metrics
    if m is None:
        return ()
    return (
        ("the token rate", m.tokens_per_s, m.tokens_per_s_bounds),
        ("the mean TTFT", m.ttft_s.mean, m.ttft_s_bounds.mean),
    )


def _apart(one: Bounds | None, other: Bounds | None) -> bool:
    if one is None or other is None:
        return False
    return one.high < other.low or other.high < one.low
