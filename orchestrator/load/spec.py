"""What the load client is asked to do, and the raw reply that it hands back."""

from __future__ import annotations

from dataclasses import dataclass, field

from orchestrator.domain.exchange import Outcome


@dataclass(frozen=True, slots=True)
class LoadSpec:
    """One stretch of load against one endpoint. Times in seconds.

    `bodies` are the JSON bodies in the order in which they are drawn; drawing goes round. With
    `requests` set the stretch ends when so many have ended; otherwise after `length_s`, when whatever
    is in flight is cut. `tag` begins every request id.
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


@dataclass(slots=True)
class Reply:
    """A request's reply as it came: pieces of the decoded HTTP body with the time of each read.

    `outcome` knows only what the transport knows; dialects judge the content.
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
    times_ns: list[int] = field(default_factory=list)
    pieces: list[bytes] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Progress:
    """What the client's process says once a second."""

    elapsed_s: float
    users: int
    ended: int
    pieces: int


@dataclass(frozen=True, slots=True)
class Done:
    """What the client's process says at the end: the span in CLOCK_MONOTONIC, its own CPU seconds, how
    late it woke each time, and whether it had real-time priority."""

    start_ns: int
    end_ns: int
    cpu_s: float
    late_s: tuple[float, ...]
    realtime: bool
