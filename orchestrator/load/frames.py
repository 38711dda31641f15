"""A stamped byte stream -> the frames that a boundary cuts it into, each with its arrival. Pure.

Only the boundary cuts, never str.splitlines: U+2028 and U+0085 are legal inside JSON strings and break
clients that split on them.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate


def frames(
    times_ns: Sequence[int], pieces: Sequence[bytes], boundary: re.Pattern[bytes]
) -> Iterator[tuple[int, bytes]]:
    """(arrival in ns, bytes) of each frame, in order, without its boundary.

    A frame arrives with the piece that holds the last byte of its boundary; what the end of the body cuts
    short arrives with the last piece.
    """
    if not pieces:
        return
    body = b"".join(pieces)
    ends = list(accumulate(map(len, pieces)))
    at = 0
    for found in boundary.finditer(body):
        frame = body[at : found.start()]
        at = found.end()
        yield times_ns[bisect_left(ends, at)], frame
    if at < len(body):
        yield times_ns[-1], body[at:]
