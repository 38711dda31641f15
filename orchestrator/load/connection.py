"""One HTTP/1.1 connection to the engine, made for measuring: every read is stamped before anything else.

httptools does the framing; nothing of the content is looked at here. One request at a time.
"""

from __future__ import annotations

import asyncio
from time import perf_counter_ns
from typing import cast

import httptools

from orchestrator.domain.exchange import Outcome
from orchestrator.load.spec import Reply

# A close that crossed our request comes within the server's own delay; a later one is its answer to it.
CROSSED_S = 1.0


class Unsent(Exception):  # noqa: N818 - not an error of the engine: a kept connection had been closed
    """The server closed a kept-alive connection before it read our request."""


class Connection(asyncio.Protocol):
    """Sends one request and collects its reply."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._parser: httptools.HttpResponseParser | None = None
        self._reply: Reply | None = None
        self._ended: asyncio.Future[None] | None = None
        self._now_ns = 0
        self._framed = False
        self._exchanges = 0
        self.last_ns = 0
        self.reusable = False

    async def exchange(self, request: bytes, reply: Reply) -> None:
        """Fill `reply` from the engine's answer. Unsent when the connection turns out to be closed."""
        if self._transport is None or self._transport.is_closing():
            raise Unsent
        self._parser = httptools.HttpResponseParser(self)
        self._reply = reply
        self._framed = False
        self._ended = asyncio.get_running_loop().create_future()
        self._exchanges += 1
        self.reusable = False
        reply.send_ns = self.last_ns = perf_counter_ns()
        self._transport.write(request)
        await self._ended

    def fail(self, outcome: Outcome, detail: str) -> None:
        """End the current exchange from outside (cut, stall, timeout) and close the connection."""
        self._end(outcome, detail, perf_counter_ns())
        self.close()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one without saying so

    def data_received(self, data: bytes) -> None:
        self._now_ns = self.last_ns = perf_counter_ns()
        if self._reply is None or self._parser is None:
            self.close()  # bytes that nobody asked for: the connection is of no further use
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self.fail(Outcome.MALFORMED, f"not HTTP: {error}")

    def connection_lost(self, exc: Exception | None) -> None:
        if self._reply is None:
            return
        now_ns = perf_counter_ns()
        if self._reply.headers_ns and not self._framed:
            self._end(Outcome.OK, "", now_ns)  # a body without length ends with the connection
        elif self._has_crossed(now_ns):
            ended, self._reply = self._ended, None
            if ended is not None and not ended.done():
                ended.set_exception(Unsent())
        else:
            self._end(Outcome.DISCONNECT, str(exc or "connection closed within the reply"), now_ns)

    def _has_crossed(self, now_ns: int) -> bool:
        """Whether the server closed a kept connection without having seen our request."""
        if self._reply is None or self._exchanges == 1 or self._reply.headers_ns:
            return False
        return now_ns - self._reply.send_ns < CROSSED_S * 1e9

    # httptools' callbacks

    def on_header(self, name: bytes, _value: bytes) -> None:
        if name.lower() in (b"content-length", b"transfer-encoding"):
            self._framed = True

    def on_headers_complete(self) -> None:
        if self._reply is not None and self._parser is not None:
            self._reply.headers_ns = self._now_ns
            self._reply.status = self._parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        if self._reply is not None:
            self._reply.times_ns.append(self._now_ns)
            self._reply.pieces.append(body)

    def on_message_complete(self) -> None:
        if self._parser is not None:
            self.reusable = self._parser.should_keep_alive()
        self._end(Outcome.OK, "", self._now_ns)

    def _end(self, outcome: Outcome, detail: str, now_ns: int) -> None:
        reply, self._reply = self._reply, None
        if reply is None:
            return
        reply.outcome, reply.detail, reply.end_ns = outcome, detail, now_ns
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(None)
