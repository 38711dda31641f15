"""What befell a cell's GPUs and its client's CPUs while a load ran: from samples to evidence to findings. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from orchestrator.domain.counts import counter_growth
from orchestrator.domain.evidence import Apart, Evidence, Xid
from orchestrator.domain.reasons import Finding, Level, Reason, finding
from orchestrator.domain.telemetry import Sample

MAX_THROTTLED_SHARE = 0.01
MAX_THROTTLED_SHARE_INVALID = 0.2
MAX_OTHERS_SHARE = 0.1
# NVIDIA's Xid catalogue: these tell of the card, its memory, its links or its firmware, not of the program
# that ran into them (13, 31, 43, 45, ...).
HARDWARE_XIDS = frozenset({48, 62, 64, 74, 79, 92, 94, 95, 109, 110, 119, 120, 121, 140})
_XID = re.compile(r"(gpu\d+)\.xid_(\d+)")
_WATCHED = (".xids", ".kernel_xids")


def xids(samples: Sequence[Sample], from_ns: int, to_ns: int) -> tuple[Xid, ...] | None:
    """Those reported within the span; None where neither driver nor kernel log was listened to."""
    inside = [s for s in samples if from_ns <= s.t_ns <= to_ns]
    if not any(name.endswith(_WATCHED) for s in inside for name in s.values):
        return None
    found = {match.groups() for s in inside for name in s.values if (match := _XID.fullmatch(name))}
    return tuple(Xid(gpu=gpu, code=int(code)) for gpu, code in sorted(found))


def lost(samples: Sequence[Sample], from_ns: int, to_ns: int) -> tuple[str, ...] | None:
    """GPUs that fell off the bus within the span; None where none was asked."""
    told = [
        (name.removesuffix(".lost"), value)
        for s in samples
        if from_ns <= s.t_ns <= to_ns
        for name, value in s.values.items()
        if name.endswith(".lost")
    ]
    return tuple(sorted({gpu for gpu, value in told if value})) if told else None


def growth(samples: Sequence[Sample], ending: str, from_ns: int, to_ns: int) -> float | None:
    """Of all GPUs' counters whose name ends so; None where not one could be read at both ends of the span."""
    names = {name for s in samples for name in s.values if name.startswith("gpu") and name.endswith(ending)}
    grown = [counter_growth(samples, name, from_ns, to_ns) for name in sorted(names)]
    told = [value for value in grown if value is not None]
    return sum(told) if told else None


def looked_for(samples: Sequence[Sample], ending: str, from_ns: int, to_ns: int) -> bool:
    """Whether any GPU's series of that ending was read within the span."""
    return any(name.endswith(ending) for s in samples if from_ns <= s.t_ns <= to_ns for name in s.values)


def words(samples: Sequence[Sample]) -> str:
    """What befell the GPUs in all that was read; empty if nothing did."""
    if not samples:
        return ""
    edges = min(s.t_ns for s in samples), max(s.t_ns for s in samples)
    gone = [f"{gpu} fell off the bus" for gpu in lost(samples, *edges) or ()]
    reported = [f"Xid {x.code} on {x.gpu}" for x in xids(samples, *edges) or ()]
    return ", ".join((*gone, *reported))


def others_cpus(mean: Mapping[str, float]) -> float | None:
    """CPUs' worth of time that was neither the engine's nor ours, from the means over a window."""
    used = [mean.get(f"{whose}.cpu_cores") for whose in ("engine", "client", "orchestrator")]
    busy = mean.get("host.busy_cpus")
    known = [cores for cores in used if cores is not None]
    return None if busy is None or len(known) < len(used) else max(0.0, busy - sum(known))


def findings(seen: Evidence) -> Iterator[Finding]:
    """What of it speaks against a cell."""
    yield from _throttled(seen)
    yield from _foreign(seen)
    yield from _xids(seen)
    if seen.gpus_lost:
        yield finding(Reason.GPU_LOST, Level.INVALID, gpus=", ".join(seen.gpus_lost))
    yield from _ecc(seen)
    yield from _busy(seen)
    yield from _apart(seen)


def not_looked_for(seen: Evidence) -> Iterator[Reason]:
    """Without a GPU there is nothing to look for on one."""
    looked = {
        Reason.THROTTLED: seen.throttled_share,
        Reason.FOREIGN_PROCESS: seen.foreign_processes,
        Reason.XID: seen.xids,
        Reason.GPU_LOST: seen.gpus_lost,
        Reason.ECC_ERRORS: seen.ecc_uncorrected,
    }
    if seen.gpus != 0:
        yield from (reason for reason, value in looked.items() if value is None)
    if seen.others_cpus is None:
        yield Reason.HOST_BUSY
    if seen.client_apart is None:
        yield Reason.CLIENT_NOT_APART


def _throttled(seen: Evidence) -> Iterator[Finding]:
    share = seen.throttled_share or 0.0
    if share > MAX_THROTTLED_SHARE:
        level = Level.INVALID if share > MAX_THROTTLED_SHARE_INVALID else Level.SUSPECT
        by = f" ({seen.throttled_by})" if seen.throttled_by else ""
        yield finding(Reason.THROTTLED, level, share=share, by=by)


def _foreign(seen: Evidence) -> Iterator[Finding]:
    """One that computes takes from the engine what cannot be told; a display takes little."""
    if seen.foreign_processes:
        level = Level.INVALID if seen.foreign_computing else Level.SUSPECT
        who = f": {', '.join(seen.foreign)}" if seen.foreign else ""
        yield finding(Reason.FOREIGN_PROCESS, level, n=seen.foreign_processes, who=who)


def _xids(seen: Evidence) -> Iterator[Finding]:
    if seen.xids:
        level = Level.INVALID if any(x.code in HARDWARE_XIDS for x in seen.xids) else Level.SUSPECT
        yield finding(Reason.XID, level, xids=", ".join(f"{x.code} on {x.gpu}" for x in seen.xids))


def _ecc(seen: Evidence) -> Iterator[Finding]:
    uncorrected, corrected = seen.ecc_uncorrected or 0.0, seen.ecc_corrected or 0.0
    if uncorrected or corrected:
        level = Level.INVALID if uncorrected else Level.SUSPECT
        yield finding(Reason.ECC_ERRORS, level, uncorrected=uncorrected, corrected=corrected)


def _busy(seen: Evidence) -> Iterator[Finding]:
    others = seen.others_cpus or 0.0
    if others > MAX_OTHERS_SHARE * seen.host_cpus:
        yield finding(Reason.HOST_BUSY, others=others, cpus=seen.host_cpus)


def _apart(seen: Evidence) -> Iterator[Finding]:
    how = {
        Apart.THREADS: "it runs on the second thread of a core of the engine's",
        Apart.NOT: "both run on the same CPUs",
    }
    if seen.client_apart in how:
        yield finding(Reason.CLIENT_NOT_APART, how=how[seen.client_apart])
