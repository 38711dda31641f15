"""The client's records beside the reference server's log -> the client's own error. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from pydantic import AwareDatetime, Field

from backends.contract import Value
from orchestrator.domain.distribution import Distribution, distribution
from orchestrator.domain.exchange import UNSTAMPED, Exchange, Outcome
from orchestrator.domain.provenance import Host
from orchestrator.load.client import Record
from orchestrator.selftest.server import Log, Schedule, Written

Ints = npt.NDArray[np.int64]

# What the client is held to (issue 4), in seconds.
KERNEL_LIMIT_S = 20e-6
USER_LIMIT_S = 100e-6
CPU_LIMIT_S = 10e-6
SATURATED_SHARE = 0.8


class Errors(Value):
    """The client's error by one kind of stamp: of a first token, its stamp less the server's write of it; of the
    gap between two tokens, how much it differs from the gap between the writes."""

    ttft_s: Distribution
    itl_s: Distribution


class Point(Value):
    """One load of the self-test. Memory is the most that a process of the client has had so far, and the most of
    the process that decodes what they read. `send_s` is how long after `send_ns` the request was there; `late_s` how far
    the server was behind its schedule; `steal_s` what the hypervisor took from this host meanwhile."""

    users: int
    seconds: float
    events: int
    events_per_s: float
    missing: int
    failed: int
    cpu_per_event_s: float
    cpu_share: float
    memory_bytes: int
    reader_memory_bytes: int = 0
    kernel_share: float
    realtime: bool
    awake: bool = False
    kernel: Errors
    user: Errors
    send_s: Distribution
    late_s: Distribution
    steal_s: float

    @property
    def ceiling_per_s(self) -> float:
        """Events a second that would saturate the busiest process, by what one of them costs here."""
        return self.events_per_s / self.cpu_share * SATURATED_SHARE if self.cpu_share else 0.0

    @property
    def whole(self) -> bool:
        """Whether every token that the server wrote came, and no request failed."""
        return not (self.missing or self.failed)


class PeerPoint(Value):
    """What a peer made of one load: its own TTFT and ITL less the server's, at the same quantile. `note` says why
    there is nothing."""

    peer: str
    users: int
    answers: int = 0
    written: int = 0
    ttft_error_s: dict[str, float] = Field(default_factory=dict)
    itl_error_s: dict[str, float] = Field(default_factory=dict)
    note: str = ""


class SelfTest(Value):
    """What the client can do on this host."""

    levelbench: str
    started_at: AwareDatetime
    host: Host
    shards: int
    points: tuple[Point, ...]
    peers: tuple[PeerPoint, ...] = ()


def point(users: int, record: Record, log: Log, schedule: Schedule, steal_s: float) -> Point:
    """One load's figures from what both sides wrote down."""
    pairs = [(x, log[x.id]) for x in record.exchanges if x.id in log]
    events = sum(len(x.event_ns) for x in record.exchanges)
    seconds = (record.end_ns - record.start_ns) / 1e9
    reads = sum(x.reads for x in record.exchanges)
    return Point(
        users=users,
        seconds=seconds,
        events=events,
        events_per_s=events / seconds,
        missing=_missing(record, log, schedule),
        failed=sum(x.outcome.failed for x in record.exchanges),
        cpu_per_event_s=record.client_cpu_s / events if events else 0.0,
        cpu_share=record.client_cpu_s / seconds,
        memory_bytes=record.client_memory_bytes,
        kernel_share=sum(x.stamped for x in record.exchanges) / reads if reads else 0.0,
        realtime=record.client_realtime,
        awake=record.client_awake,
        kernel=_errors([(x.event_ns, written) for x, written in pairs if _stamped(x)]),
        user=_errors([(_user_ns(x), written) for x, written in pairs]),
        send_s=distribution([(written.arrival_ns - x.send_ns) / 1e9 for x, written in pairs]),
        late_s=distribution(_late_s([written for _, written in pairs], schedule)),
        steal_s=steal_s,
    )


def _missing(record: Record, log: Log, schedule: Schedule) -> int:
    """Tokens that the server wrote and the client has not: of an answer that ended all of them, of one that
    was cut those that were written a while before the end."""
    since_ns = record.end_ns - round(schedule.itl_s * 1e9)
    missing = 0
    for x in record.exchanges:
        before_ns = log[x.id].before_ns if x.id in log else ()
        due = schedule.tokens if x.outcome is Outcome.OK else sum(t < since_ns for t in before_ns)
        missing += max(0, due - len(x.event_ns))
    return missing


def _stamped(x: Exchange) -> bool:
    return x.reads > 0 and x.stamped == x.reads


def _user_ns(x: Exchange) -> Ints:
    """The client's own time of each event."""
    lag_ns = x.event_lag_ns
    return x.event_ns + np.where(lag_ns == UNSTAMPED, 0, lag_ns)


def _errors(pairs: Sequence[tuple[Ints, Written]]) -> Errors:
    firsts: list[float] = []
    gaps = [np.empty(0)]
    for event_ns, written in pairs:
        n = min(len(event_ns), len(written.before_ns))
        if n:
            stamp_ns, write_ns = event_ns[:n], np.array(written.before_ns[:n], np.int64)
            firsts.append(float(stamp_ns[0] - write_ns[0]) / 1e9)
            gaps.append(np.abs(np.diff(stamp_ns) - np.diff(write_ns)) / 1e9)
    return Errors(ttft_s=distribution(firsts), itl_s=distribution(np.concatenate(gaps)))


def _late_s(answers: Sequence[Written], schedule: Schedule) -> npt.NDArray[np.float64]:
    late = [np.empty(0)]
    for written in answers:
        at_s = schedule.ttft_s + schedule.itl_s * np.arange(len(written.before_ns))
        late.append((np.array(written.before_ns, np.int64) - written.arrival_ns) / 1e9 - at_s)
    return np.concatenate(late)
