"""A stamped byte stream -> server-sent events with their arrival. Pure.

Events are cut at blank lines only, never by str.splitlines: U+2028 and U+0085 are legal inside JSON
strings and break clients that split on them (load-clients.md, section 2, GuideLLM).
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate

_BLANK_LINE = re.compile(rb"(?:\r\n|\n|\r(?!\n)){2}")
_LINE = re.compile(rb"\r\n|\n|\r")


def events(times_ns: Sequence[int], pieces: Sequence[bytes]) -> Iterator[tuple[int, bytes]]:
    """(arrival in ns, data) of each event that carries data, in order.

    An event arrives with the piece that holds the last byte of its blank line; one that the end of the
    body cuts short arrives with the last piece. Comments and fields other than `data` are passed over.
    """
    if not pieces:
        return
    body = b"".join(pieces)
    ends = list(accumulate(map(len, pieces)))
    at = 0
    for blank in _BLANK_LINE.finditer(body):
        data = _data(body[at : blank.start()])
        at = blank.end()
        if data:
            yield times_ns[bisect_left(ends, at)], data
    rest = _data(body[at:])
    if rest:
        yield times_ns[-1], rest


def _data(block: bytes) -> bytes:
    lines = (line[5:].removeprefix(b" ") for line in _LINE.split(block) if line.startswith(b"data:"))
    return b"\n".join(lines)
