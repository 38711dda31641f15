"""A real HTTP server on loopback that streams like an engine, on an exact schedule, with faults on order.

It runs in a thread with its own loop and writes raw bytes, so that a test decides every boundary.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any

from typing_extensions import Self

Answer = Callable[["Exchange"], Awaitable[None]]


class Exchange:
    """One request as the server sees it; an answer writes to it."""

    def __init__(self, body: dict[str, Any], headers: dict[str, str], writer: asyncio.StreamWriter) -> None:
        self.body = body
        self.headers = headers
        self.writer = writer
        self.close = False

    async def raw(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def head(self, status: str = "200 OK", extra: str = "Transfer-Encoding: chunked\r\n") -> None:
        await self.raw(f"HTTP/1.1 {status}\r\nContent-Type: text/event-stream\r\n{extra}\r\n".encode())

    async def chunk(self, data: bytes) -> None:
        await self.raw(b"%x\r\n%s\r\n" % (len(data), data))

    async def event(self, value: dict[str, Any]) -> None:
        await self.chunk(b"data: " + json.dumps(value).encode() + b"\n\n")

    async def token(self, text: str, finish: str | None = None) -> None:
        await self.event({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}]})

    async def role(self) -> None:
        delta = {"role": "assistant", "content": ""}
        await self.event({"choices": [{"index": 0, "delta": delta, "finish_reason": None}]})

    async def usage(self, prompt: int, completion: int) -> None:
        usage = {"prompt_tokens": prompt, "completion_tokens": completion}
        await self.event({"choices": [], "usage": usage})

    async def done(self) -> None:
        await self.chunk(b"data: [DONE]\n\n")
        await self.raw(b"0\r\n\r\n")


def steady(*, tokens: int = 8, ttft_s: float = 0.02, itl_s: float = 0.005) -> Answer:
    """An engine that behaves: role, tokens on schedule, usage, [DONE]."""

    async def answer(x: Exchange) -> None:
        await x.head()
        await asyncio.sleep(ttft_s)
        await x.role()
        for i in range(tokens):
            await x.token("word ", finish="stop" if i == tokens - 1 else None)
            if i < tokens - 1:
                await asyncio.sleep(itl_s)
        await x.usage(5, tokens)
        await x.done()

    return answer


class FakeEngine:
    """Context manager: `port`, the requests seen, and the number of connections accepted. A POST to a path of
    `posts` gets that status and is kept in `posted`; any other is a request."""

    def __init__(
        self,
        answer: Answer,
        *,
        gets: dict[str, tuple[int, str]] | None = None,
        posts: dict[str, int] | None = None,
    ) -> None:
        self._answer = answer
        self._posts = posts or {}
        self.posted: list[str] = []
        self._gets = {"/health": (200, ""), "/v1/models": (200, '{"data":[{"id":"tiny"}]}'), **(gets or {})}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._tasks: set[asyncio.Task[None]] = set()
        self.requests: list[dict[str, Any]] = []
        self.request_ids: list[str] = []
        self.connections = 0
        self.port = 0

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(5)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(5)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    def set_get(self, path: str, status: int, body: str) -> None:
        self._gets[path] = (status, body)

    async def _start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _stop(self) -> None:
        await (
            _turns()
        )  # a server that is closed while it accepts leaves that connection open (Server._attach)
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await _turns()  # of transports that were aborted

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while await self._one(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        request, *lines = head.split("\r\n")
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines if line)}
        method, path, _ = request.split(" ")
        if method == "GET":
            await self._get(path, writer)
            return True
        if path in self._posts:
            self.posted.append(path)
            writer.write(f"HTTP/1.1 {self._posts[path]} X\r\nContent-Length: 0\r\n\r\n".encode())
            return True
        body = json.loads(await reader.readexactly(int(headers["content-length"])))
        self.requests.append(body)
        self.request_ids.append(headers.get("x-request-id", ""))
        x = Exchange(body, headers, writer)
        await self._answer(x)
        return not x.close

    async def _get(self, path: str, writer: asyncio.StreamWriter) -> None:
        status, body = self._gets.get(path, (404, ""))
        text = f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n\r\n{body}"
        writer.write(text.encode())
        await writer.drain()


async def _turns() -> None:
    """Let the loop do what is due already."""
    for _ in range(20):
        await asyncio.sleep(0)
