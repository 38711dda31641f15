"""The spool's entries -> replies: reads are put together, stamped on our clock and unframed. Pure.

This runs in the orchestrator's process while the load goes on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from orchestrator.domain.exchange import UNSTAMPED
from orchestrator.load.clock import Offsets
from orchestrator.load.framing import body
from orchestrator.load.spec import Reply
from orchestrator.load.spool import End, Entry, Read, Sample


class Assembly:
    """Holds the reads of what is in flight, and gives each reply when its end has come."""

    def __init__(self) -> None:
        self.offsets = Offsets()
        self._in_flight: dict[int, list[Read]] = {}

    def replies(self, entries: Iterable[Entry]) -> Iterator[Reply]:
        for entry in entries:
            if isinstance(entry, Read):
                self._in_flight.setdefault(entry.exchange, []).append(entry)
            elif isinstance(entry, Sample):
                self.offsets.add(entry.at_ns, entry.offset_ns)
            else:
                yield self._whole(entry)

    def _whole(self, end: End) -> Reply:
        reads = self._in_flight.pop(end.exchange, [])
        reply = end.reply
        arrivals_ns = [self._arrival_ns(read) for read in reads]
        times_ns = [arrival_ns or read.at_ns for arrival_ns, read in zip(arrivals_ns, reads, strict=True)]
        status, reply.headers_ns, reply.times_ns, reply.pieces = body(
            (at_ns, read.data) for at_ns, read in zip(times_ns, reads, strict=True)
        )
        reply.status = status or reply.status
        if times_ns:  # a refusal may come before a large request is whole
            reply.send_ns = min(reply.send_ns, times_ns[0])
        if reads and reply.end_ns == reads[-1].at_ns:  # it ended with a read, not with a close or by us
            reply.end_ns = times_ns[-1]
        lags_ns = {at_ns: read.at_ns - at_ns for at_ns, read in zip(arrivals_ns, reads, strict=True) if at_ns}
        reply.lags_ns = [lags_ns.get(at_ns, UNSTAMPED) for at_ns in reply.times_ns]
        reply.reads, reply.stamped = len(reads), sum(at_ns > 0 for at_ns in arrivals_ns)
        reply.coalesced = sum(n > 1 for n in Counter(reply.times_ns).values())
        reply.lag_max_ns = max(lags_ns.values(), default=0)
        return reply

    def _arrival_ns(self, read: Read) -> int:
        return self.offsets.arrival_ns(read.at_ns, read.stamp_ns) if read.stamp_ns else 0
