"""The file that carries raw replies from the client's process to ours, one record per exchange.

Writing is all that the measuring process does with a reply, so that no parsing stands beside the
stamping of other streams; the reader parses in another process while the load runs.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator
from typing import BinaryIO

from orchestrator.domain.exchange import Outcome
from orchestrator.load.spec import Reply

# sizes of id, detail and body; number of pieces; user, prompt, status, connects, outcome; three times
_HEAD = struct.Struct("<IIQI IIHBB qqq")
_OUTCOMES = tuple(Outcome)


def encode(reply: Reply) -> bytes:
    """One record: head, id, detail, times (int64), piece lengths (uint32), body."""
    name, detail = reply.id.encode(), reply.detail.encode()
    body = b"".join(reply.pieces)
    head = _HEAD.pack(
        len(name),
        len(detail),
        len(body),
        len(reply.pieces),
        reply.user,
        reply.prompt,
        reply.status,
        min(reply.connects, 255),
        _OUTCOMES.index(reply.outcome),
        reply.send_ns,
        reply.headers_ns,
        reply.end_ns,
    )
    lengths = array("I", map(len, reply.pieces)).tobytes()
    return b"".join((head, name, detail, array("q", reply.times_ns).tobytes(), lengths, body))


def read(file: BinaryIO) -> Iterator[Reply]:
    """All whole records from the file's position on; a record still being written is left for later."""
    while True:
        position = file.tell()
        reply = _read_one(file)
        if reply is None:
            file.seek(position)
            return
        yield reply


def _read_one(file: BinaryIO) -> Reply | None:
    head = file.read(_HEAD.size)
    if len(head) < _HEAD.size:
        return None
    name_n, detail_n, body_n, pieces_n, user, prompt, status, connects, outcome, *times = _HEAD.unpack(head)
    size = name_n + detail_n + pieces_n * 12 + body_n
    rest = memoryview(file.read(size))
    if len(rest) < size:
        return None
    arrays = rest[name_n + detail_n :]
    return Reply(
        id=bytes(rest[:name_n]).decode(),
        user=user,
        prompt=prompt,
        send_ns=times[0],
        headers_ns=times[1],
        end_ns=times[2],
        outcome=_OUTCOMES[outcome],
        status=status,
        connects=connects,
        detail=bytes(rest[name_n : name_n + detail_n]).decode(),
        times_ns=array("q", bytes(arrays[: pieces_n * 8])).tolist(),
        pieces=_cut(arrays[pieces_n * 12 :], array("I", bytes(arrays[pieces_n * 8 : pieces_n * 12]))),
    )


def _cut(body: memoryview, lengths: array[int]) -> list[bytes]:
    pieces, at = [], 0
    for length in lengths:
        pieces.append(bytes(body[at : at + length]))
        at += length
    return pieces
