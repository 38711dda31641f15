"""Whether a group that failed is tried once more, and whether one like it is worth trying at all. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from backends.contract import FailureCause
from orchestrator.domain.cell import CellGroup
from orchestrator.domain.result import Failure, Phase, Result

MOST_ATTEMPTS = 2
SKIPPED_AFTER = 2
# Phases in which no request of a load has been sent yet: what fails there says nothing about performance
BEFORE_MEASURING = (Phase.IMAGE, Phase.WEIGHTS, Phase.STEPS, Phase.UP, Phase.READY, Phase.WARMUP)
# What may be over by itself. Everything else would fail the same way again
PASSING = (FailureCause.PORT_IN_USE, FailureCause.KILLED)

Likeness = tuple[str, str, str, Phase, FailureCause, str]


def tried_again(phase: Phase, cause: FailureCause, attempt: int) -> bool:
    """Only where nothing had been measured, only what may be over by itself, and only once."""
    return attempt < MOST_ATTEMPTS and phase in BEFORE_MEASURING and cause in PASSING


def likeness(group: CellGroup, failure: Failure) -> Likeness:
    """What two failures have in common if they are the same one. A cause that is not known is told by its
    message, without the numbers in it, which differ from time to time."""
    said = re.sub(r"\d+", "#", failure.message) if failure.cause is FailureCause.UNKNOWN else ""
    return group.backend, group.release, group.model, failure.phase, failure.cause, said


def hopeless(group: CellGroup, ended: Iterable[tuple[Result, ...]]) -> Failure | None:
    """The failure that this backend's release has had with this model twice, before anything was measured.
    `ended` has the results of each group so far."""
    own = [
        (results[-1].cell.group, failure) for results in ended if (failure := _failure(results)) is not None
    ]
    counts = Counter(likeness(g, f) for g, f in own)
    alike = (
        f
        for g, f in own
        if (g.backend, g.release, g.model) == (group.backend, group.release, group.model)
        and counts[likeness(g, f)] >= SKIPPED_AFTER
    )
    return next(alike, None)


def _failure(results: tuple[Result, ...]) -> Failure | None:
    """Of a group that came to no figures."""
    if any(result.failure is None for result in results):
        return None
    failures = (r.failure for r in reversed(results) if r.failure is not None and not r.failure.skipped)
    return next(failures, None)
