"""What the load client is asked to do, and the raw reply that it hands back."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path

from orchestrator.domain.exchange import Outcome

HTTP_OK = 200


@dataclass(frozen=True, slots=True)
class LoadSpec:
    """One stretch of load against one endpoint. Times in seconds.

    `bodies` are the JSON bodies in the order in which they are drawn; drawing goes round. With
    `requests` set the stretch ends when so many have ended; otherwise after `length_s`, when whatever
    is in flight is cut. `tag` begins every request id. `kernel_stamps` off leaves all times to user space.
    `turns` says how many neighbouring bodies are the turns of each session: a user who draws one sends them
    in order, and leaves it at a failure. `requests` then counts sessions.

    `due_ns` makes it an open loop: when each request is due, in nanoseconds after the start, whatever became of those
    before; `users` is then how many may be in flight at a time, and `ramp_s` has been heeded already.
    """

    tag: str
    host: str
    port: int
    path: str
    users: int
    ramp_s: float
    bodies: tuple[bytes, ...]
    length_s: float = 0.0
    requests: int | None = None
    think_s: float = 0.0
    stall_s: float = 60.0
    request_s: float = 600.0
    kernel_stamps: bool = True
    turns: tuple[int, ...] = ()
    due_ns: array[int] | None = None


@dataclass(frozen=True, slots=True)
class Order:
    """A stretch as one of the client's processes gets it: its share of the users, and the folder for what it
    reads. The process answers Ready, and then begins at the time that it is told."""

    spec: LoadSpec
    shard: int
    shards: int
    folder: Path

    @property
    def users(self) -> range:
        """The users of this share: every `shards`-th."""
        return range(self.shard, self.spec.users, self.shards)

    @property
    def sessions(self) -> tuple[range, ...]:
        """The bodies of each session."""
        counts = self.spec.turns or (1,) * len(self.spec.bodies)
        ends = list(accumulate(counts))
        return tuple(range(end - count, end) for end, count in zip(ends, counts, strict=True))

    @property
    def arrivals(self) -> range:
        """Which of the requests of an open loop are this share's: every `shards`-th."""
        return range(self.shard, len(self.spec.due_ns or ()), self.shards)

    @property
    def requests(self) -> int | None:
        """How many requests this share makes."""
        if self.spec.requests is None:
            return None
        return len(range(self.shard, self.spec.requests, self.shards))


@dataclass(slots=True)
class Reply:
    """A request's reply as it came: pieces of the decoded HTTP body, each with its time of arrival.

    `outcome` knows only what the transport knows; dialects judge the content. `reads` counts the reads of
    the socket, `stamped` those of them with a stamp by the kernel, `coalesced` those that held several
    pieces (the stamp is the last one's). `lags_ns` says of each piece how long after the kernel we got it,
    UNSTAMPED where it had no stamp.
    """

    id: str
    user: int
    prompt: int
    send_ns: int
    headers_ns: int = 0
    end_ns: int = 0
    outcome: Outcome = Outcome.OK
    status: int = 0
    connects: int = 0
    detail: str = ""
    scheduled_ns: int = 0
    times_ns: list[int] = field(default_factory=list)
    pieces: list[bytes] = field(default_factory=list)
    reads: int = 0
    stamped: int = 0
    coalesced: int = 0
    lag_max_ns: int = 0
    lags_ns: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Ready:
    """What a client's process says once it could begin."""


@dataclass(frozen=True, slots=True)
class Progress:
    """What a client's process says once a second."""

    elapsed_s: float
    users: int
    ended: int
    reads: int


@dataclass(frozen=True, slots=True)
class Done:
    """What a client's process says at the end: the span in CLOCK_MONOTONIC, its own CPU seconds and largest
    memory, how late it woke each time, whether it had real-time priority, whether
    its core was kept awake, and how many requests of an open loop were due while no more might be in flight."""

    start_ns: int
    end_ns: int
    cpu_s: float
    memory_bytes: int
    late_s: tuple[float, ...]
    realtime: bool = False
    awake: bool = False
    held: int = 0
