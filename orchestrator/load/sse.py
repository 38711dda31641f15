"""A stamped byte stream -> server-sent events with their arrival. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from orchestrator.load.frames import frames

_BLANK_LINE = re.compile(rb"(?:\r\n|\n|\r(?!\n)){2}")
_TWO_FEEDS = re.compile(rb"\n\n")  # the same where nothing returns, and fifty times as fast
_LINE = re.compile(rb"\r\n|\n|\r")
_SPOKEN = re.compile(rb"\s*(?::|(?:data|event|id|retry)(?:[:\r\n]|$))")


def events(times_ns: Sequence[int], pieces: Sequence[bytes]) -> Iterator[tuple[int, bytes]]:
    """(arrival in ns, data) of each event that carries data, in order. Comments and fields other than
    `data` are passed over."""
    boundary = _BLANK_LINE if any(b"\r" in piece for piece in pieces) else _TWO_FEEDS
    for t_ns, block in frames(times_ns, pieces, boundary):
        data = _data(block)
        if data:
            yield t_ns, data


def is_spoken(body: bytes) -> bool:
    """Whether a body begins as a stream of events does, if only with a comment."""
    return _SPOKEN.match(body) is not None


def _data(block: bytes) -> bytes:
    if block.startswith(b"data:") and b"\n" not in block and b"\r" not in block:
        return block[5:].removeprefix(b" ")
    lines = (line[5:].removeprefix(b" ") for line in _LINE.split(block) if line.startswith(b"data:"))
    return b"\n".join(lines)
