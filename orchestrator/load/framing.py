"""Where an HTTP/1.1 response ends, and what body it carries: httptools over the bytes as they came."""

from __future__ import annotations

from collections.abc import Iterable

import httptools

FINAL = 200  # below it a response is interim (100 Continue, 103 Early Hints) and another one follows


class Framing:
    """One response, fed in any portions. It has no callback for the body: the client's process only wants
    to know where it ends, which costs some microseconds per response that way."""

    def __init__(self) -> None:
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)
        self.begun = False
        self.status = 0
        self.chunked = False
        self.sized = False
        self.complete = False
        self.keep = False

    def feed(self, data: bytes | bytearray) -> str:
        """What is wrong with it, or nothing."""
        if self._parser is None or self.complete:
            self.keep = False  # bytes that nobody asked for
            return ""
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self.keep = False
            return "" if self.complete else f"not HTTP: {error or type(error).__name__}"
        return ""

    def release(self) -> None:
        """Part with the parser, which refers to us: nothing here is collected while the load runs."""
        self._parser = None

    # httptools' callbacks

    def on_message_begin(self) -> None:
        self.begun = True
        if self.complete:
            self.keep = False

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.complete:
            return
        lower = name.lower()
        if lower == b"transfer-encoding":
            self.chunked = value.rstrip().lower().endswith(b"chunked")
        elif lower == b"content-length":
            self.sized = True

    def on_headers_complete(self) -> None:
        if self._parser is None or self.complete:
            return
        status = self._parser.get_status_code()
        if status >= FINAL:
            self.status = status
        else:
            self.chunked = self.sized = False

    def on_message_complete(self) -> None:
        if self._parser is not None and self.status and not self.complete:
            self.complete = True
            self.keep = self._parser.should_keep_alive()


class _Body(Framing):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[bytes] = []

    def on_body(self, piece: bytes) -> None:
        if not self.complete:
            self.found.append(piece)


def body(reads: Iterable[tuple[int, bytes]]) -> tuple[int, int, list[int], list[bytes]]:
    """(status, arrival of its headers, arrival of each piece, pieces) of a response from its stamped reads.

    A piece is what one read holds of one chunk (or of a body without chunks), so each arrives with the
    read that holds its last byte. What is not HTTP ends it.
    """
    framing, headers_ns = _Body(), 0
    times_ns: list[int] = []
    pieces: list[bytes] = []
    for at_ns, data in reads:
        wrong = framing.feed(data)
        if framing.status and not headers_ns:
            headers_ns = at_ns
        times_ns.extend([at_ns] * len(framing.found))
        pieces.extend(framing.found)
        framing.found.clear()
        if wrong or framing.complete:
            break
    framing.release()
    return framing.status, headers_ns, times_ns, pieces
