"""Plain text in the chunks of the body: no framing, no count, no end mark. The published benchmark's own.

An event is what one read brought, since nothing else cuts the stream.
"""

from __future__ import annotations

from codecs import getincrementaldecoder
from collections.abc import Iterator, Sequence
from typing import Any

from backends.contract import RequestField, Template
from orchestrator.domain.workload import Sampling
from orchestrator.load.dialects.shape import Ask, Said, Shape


class RawText(Shape):
    path = "/generate"
    templates = frozenset({Template.MESSAGES})
    marked = False
    counts = False

    def required(self, ask: Ask) -> dict[str, Any]:
        """The system prompt is sent even if it is empty: without one the service takes its own."""
        return {
            "prompt": ask.prompt,
            "system_prompt": ask.system or "",
            "max_tokens": ask.sampling.max_tokens,
        }

    def optional(self, sampling: Sampling) -> dict[RequestField, dict[str, Any]]:
        """The service decides."""
        del sampling
        return {}

    def frames(self, times_ns: Sequence[int], pieces: Sequence[bytes]) -> Iterator[tuple[int, bytes]]:
        """A character that a cut goes through belongs to the piece that ends it."""
        decoder = getincrementaldecoder("utf-8")("replace")
        for t_ns, piece in zip(times_ns, pieces, strict=True):
            if piece:
                yield t_ns, decoder.decode(piece).encode()

    def said(self, data: bytes) -> Said:
        return Said(token=True, text=data.decode())
