"""The files that carry raw reads from a client's process to ours, in the order in which they came.

Three kinds of record: a read (bytes, our time, the kernel's stamp), the end of an exchange, a sample of
the clocks. The kernel puts a read where it is to stand in the block that is written next, so that nothing is
allocated for it or copied. The files are cut into segments, which the reader removes once it has read
them: neither memory nor disk grows with the length of a load.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter_ns
from typing import Any, BinaryIO, NamedTuple

from orchestrator.domain.exchange import Outcome
from orchestrator.load.spec import Reply

SEGMENT_BYTES = 64 << 20
FLUSH_BYTES = 16 << 10  # one write of 15 to 45 us, when no read waits for it
MOST_BYTES = 256 << 10  # gathered, where some read always does
READ_BYTES = 1 << 16  # at most, of one read
CONTROL_BYTES = socket.CMSG_SPACE(16)  # the kernel's stamp
DETAIL_CHARS = 1000
BLOCK_BYTES = 4 << 20
NO_STAMP = bytes(16)

# kind, exchange, size of what follows; then for a read: our time, the kernel's struct timespec
_READ = struct.Struct("<BIIq16s")
# ... for an end: size of the id, user, prompt, status, connects, outcome, scheduled, send, end; id and detail follow
_END = struct.Struct("<BIIIIIIHBqqq")
# ... for a sample: CLOCK_MONOTONIC, what CLOCK_REALTIME is ahead of it
_CLOCK = struct.Struct("<BIIqq")
_KIND = struct.Struct("<BII")
_TIMESPEC = struct.Struct("<qq")
_A_READ, _AN_END, _A_SAMPLE = 1, 2, 3
_OUTCOMES = tuple(Outcome)
_NS = 1_000_000_000


class Read(NamedTuple):
    """One read of a socket. `stamp_ns` is the kernel's, in CLOCK_REALTIME; 0 where it gave none."""

    exchange: int
    at_ns: int
    stamp_ns: int
    data: bytes


class End(NamedTuple):
    """What the client's process knows of an exchange that has ended; its reads came before."""

    exchange: int
    reply: Reply


class Sample(NamedTuple):
    """The two clocks, read at once."""

    at_ns: int
    offset_ns: int


Entry = Read | End | Sample


Receive = Callable[[tuple[memoryview], int], tuple[int, list[tuple[int, int, bytes]], int, Any]]
"""A socket's `recvmsg_into`."""


class Writer:
    """Gathers records in one block and appends it to the segment at hand, when `at_leisure` calls for it. `reads`
    counts them."""

    def __init__(self, folder: Path, at_leisure: Callable[[Callable[[], None]], None]) -> None:
        self._folder = folder
        self._at_leisure = at_leisure
        self._most = FLUSH_BYTES
        self._block = bytearray(MOST_BYTES + _READ.size + READ_BYTES)
        self._view = memoryview(self._block)
        self._filled = 0
        self._segment = 0
        self._written = 0
        self._file = _segment(folder, 0).open("wb", buffering=0)
        self.reads = 0

    def receive(self, exchange: int, receive: Receive) -> tuple[int, bytearray]:
        """Read from a socket: our time of it, and a copy of the bytes. No bytes, which is the stream's end, make no
        record. OSError as the socket raises it."""
        block, at = self._block, self._filled
        begin = at + _READ.size
        size, control, _, _ = receive((self._view[begin : begin + READ_BYTES],), CONTROL_BYTES)
        at_ns = perf_counter_ns()
        end = begin + size
        if size:
            _READ.pack_into(block, at, _A_READ, exchange, size, at_ns, control[0][2] if control else NO_STAMP)
            self.reads += 1
            self._filled = end
            if end > self._most:
                self._flush_soon()
        return at_ns, block[begin:end]

    def end(self, exchange: int, reply: Reply) -> None:
        name, detail = reply.id.encode(), reply.detail[:DETAIL_CHARS].encode()
        head = _END.pack(
            _AN_END,
            exchange,
            len(name) + len(detail),
            len(name),
            reply.user,
            reply.prompt,
            reply.status,
            min(reply.connects, 0xFFFF),
            _OUTCOMES.index(reply.outcome),
            reply.scheduled_ns,
            reply.send_ns,
            reply.end_ns,
        )
        self._append(head + name + detail)

    def sample(self, at_ns: int, offset_ns: int) -> None:
        self._append(_CLOCK.pack(_A_SAMPLE, 0, 0, at_ns, offset_ns))

    def flush(self) -> None:
        """Write what is gathered; go on in a new segment when this one is long enough."""
        block = self._view[: self._filled]
        self._filled = 0
        self._written += len(block)
        while block:
            block = block[self._file.write(block) :]
        if self._written > SEGMENT_BYTES:
            self._file.close()
            self._segment += 1
            self._written = 0
            self._file = _segment(self._folder, self._segment).open("wb", buffering=0)

    def close(self) -> None:
        self.flush()
        self._file.close()

    def _append(self, record: bytes) -> None:
        end = self._filled + len(record)
        self._block[self._filled : end] = record
        self._filled = end
        if end > self._most:
            self._flush_soon()

    def _flush_soon(self) -> None:
        if self._most == MOST_BYTES:  # there was no leisure
            self.flush()
        else:
            self._most = MOST_BYTES
            self._at_leisure(self._flush_at_leisure)

    def _flush_at_leisure(self) -> None:
        self._most = FLUSH_BYTES
        self.flush()


class Reader:
    """Reads what has been written so far; a record still being written is left for later."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._segment = 0
        self._file: BinaryIO | None = None
        self._rest = b""

    def entries(self) -> Iterator[Entry]:
        while block := self._block():
            self._rest += block
            at = 0
            while (found := _parse(self._rest, at)) is not None:
                entry, at = found
                yield entry
            self._rest = self._rest[at:]

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _block(self) -> bytes:
        """The next bytes; a segment that has a successor is removed at its end."""
        if self._file is None:
            path = _segment(self._folder, self._segment)
            if not path.exists():
                return b""
            self._file = path.open("rb")
        followed = _segment(self._folder, self._segment + 1).exists()
        block = self._file.read(BLOCK_BYTES)
        if block or not followed:
            return block
        self._file.close()
        _segment(self._folder, self._segment).unlink()
        self._segment += 1
        self._file = _segment(self._folder, self._segment).open("rb")
        return self._block()


def stamp_ns(timespec: bytes) -> int:
    """The kernel's struct timespec as nanoseconds."""
    seconds, rest_ns = _TIMESPEC.unpack(timespec)
    return int(seconds * _NS + rest_ns)


def _segment(folder: Path, number: int) -> Path:
    return folder / f"{number:06d}.spool"


def _parse(block: bytes, at: int) -> tuple[Entry, int] | None:
    """The record at `at` and where the next begins; None if it is not whole yet."""
    if len(block) < at + _KIND.size:
        return None
    kind, exchange, size = _KIND.unpack_from(block, at)
    form = _FORMS[kind]
    begin = at + form.size
    end = begin + size
    if len(block) < end:
        return None
    fields = form.unpack_from(block, at)[3:]
    if kind == _A_SAMPLE:
        return Sample(*fields), end
    if kind == _AN_END:
        return End(exchange, _reply(fields, block[begin:end])), end
    at_ns, stamp = fields
    return Read(exchange, at_ns, stamp_ns(stamp), block[begin:end]), end


def _reply(fields: tuple[int, ...], text: bytes) -> Reply:
    name_n, user, prompt, status, connects, outcome, scheduled_ns, send_ns, end_ns = fields
    return Reply(
        id=text[:name_n].decode(),
        user=user,
        prompt=prompt,
        send_ns=send_ns,
        end_ns=end_ns,
        outcome=_OUTCOMES[outcome],
        status=status,
        connects=connects,
        detail=text[name_n:].decode(),
        scheduled_ns=scheduled_ns,
    )


_FORMS = {_A_READ: _READ, _AN_END: _END, _A_SAMPLE: _CLOCK}
