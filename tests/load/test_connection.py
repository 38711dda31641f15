"""One connection and the users on it, in this process: what is retried, what is not, what is closed."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter_ns

import pytest

from orchestrator.domain.exchange import Outcome
from orchestrator.load import connection, users
from orchestrator.load.connection import Connection
from orchestrator.load.loop import Loop
from orchestrator.load.replies import Assembly
from orchestrator.load.spec import LoadSpec, Order, Reply
from orchestrator.load.spool import Reader, Writer
from orchestrator.load.users import Users
from orchestrator.pace import backoff_s
from tests.fakes.engine import Answer, Exchange, FakeEngine, steady

SPEC = LoadSpec(
    tag="t", host="127.0.0.1", port=0, path="/v1/chat/completions", users=1, ramp_s=0.0, bodies=(b"{}",)
)


def sent(engine: FakeEngine, **changes: object) -> list[Reply]:
    """The replies of a stretch, in the order in which they ended."""
    spec = replace(SPEC, **{"port": engine.port, **changes})  # type: ignore[arg-type]
    with TemporaryDirectory() as folder:
        loop = Loop()
        spool = Writer(Path(folder), loop.at_leisure)
        Users(Order(spec, shard=0, shards=1, folder=Path(folder)), loop, spool).run(perf_counter_ns())
        spool.close()
        loop.close()
        reader = Reader(Path(folder))
        replies = list(Assembly().replies(reader.entries()))
        reader.close()
        return replies


def outcomes(answer: Answer, **changes: object) -> tuple[list[Outcome], int]:
    """How the replies ended, and how many connections the server saw."""
    with FakeEngine(answer) as engine:
        replies = sent(engine, **changes)
        return [reply.outcome for reply in replies], engine.connections


async def hang_up(x: Exchange) -> None:
    """Close without a word."""
    x.close = True


def second(then: Answer) -> Answer:
    """A good answer, then another."""
    answers = iter((steady(tokens=1), then))

    async def answer(x: Exchange) -> None:
        await next(answers)(x)

    return answer


def test_framed_reply_that_is_cut_short_is_a_disconnect() -> None:
    """Even after its finish reason: the server had announced more."""

    async def answer(x: Exchange) -> None:
        await x.head()
        await x.token("a", finish="stop")
        x.close = True

    assert ([Outcome.DISCONNECT], 1) == outcomes(answer, requests=1)


def test_fresh_connection_closed_without_an_answer_is_a_failure() -> None:
    """Only a kept connection can have been closed before the request."""
    assert ([Outcome.DISCONNECT], 1) == outcomes(hang_up, requests=1)


def test_reply_that_breaks_off_on_a_kept_connection_is_not_asked_for_again() -> None:
    """Once headers have come, the request was served."""

    async def broken(x: Exchange) -> None:
        await x.head()
        x.close = True

    assert ([Outcome.OK, Outcome.DISCONNECT], 1) == outcomes(second(broken), requests=2)


def test_close_long_after_the_request_is_the_servers_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that dies over a request is no kept connection that had run out."""
    monkeypatch.setattr(connection, "CROSSED_S", 0.02)

    async def late(x: Exchange) -> None:
        await asyncio.sleep(0.1)
        x.close = True

    assert ([Outcome.OK, Outcome.DISCONNECT], 1) == outcomes(second(late), requests=2)


def test_server_that_closes_every_connection_at_once_ends_no_stretch_in_a_loop() -> None:
    """A fresh connection is tried once."""
    with FakeEngine(hang_up) as engine:
        (reply,) = sent(engine, requests=1)

    assert (Outcome.DISCONNECT, 1) == (reply.outcome, reply.connects)
    assert reply.end_ns > reply.send_ns


def test_connection_that_is_not_to_be_kept_is_closed_by_us(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server may announce `close` and leave the closing to the client."""
    closed: list[Connection] = []
    close = Connection.close

    def noted(self: Connection) -> None:
        closed.append(self)
        close(self)

    monkeypatch.setattr(Connection, "close", noted)

    async def last(x: Exchange) -> None:
        await x.head(extra="Content-Length: 0\r\nConnection: close\r\n")

    with FakeEngine(last) as engine:
        replies = sent(engine, requests=2)
        assert [1, 1] == [reply.connects for reply in replies]

    assert 2 <= len(closed)


def test_bytes_that_nobody_asked_for_end_a_kept_connection() -> None:
    """They would be taken for the next answer."""

    async def chatty(x: Exchange) -> None:
        await steady(tokens=1)(x)
        await asyncio.sleep(0.05)
        await x.raw(b"more")

    with FakeEngine(chatty) as engine:
        replies = sent(engine, requests=2, think_s=0.15)

    assert [(Outcome.OK, 1), (Outcome.OK, 1)] == [(r.outcome, r.connects) for r in replies]


def test_long_stream_without_a_silence_is_no_stall() -> None:
    """Silence counts from the last byte, not from the request."""
    answer = steady(tokens=12, itl_s=0.08)

    assert ([Outcome.OK], 1) == outcomes(answer, requests=1, stall_s=0.4)


def full() -> socket.socket:
    """A listener that takes no more connections: its queue holds one, and nobody accepts."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=0)
    listener.settimeout(0)
    return listener


def test_nothing_is_sent_once_the_stretch_is_over() -> None:
    """A user who still waits for a connection then is recorded as cut, and the engine has nothing left to do."""
    with full() as listener, socket.create_connection(listener.getsockname()):
        with FakeEngine(steady()) as engine:
            (reply,) = sent(engine, port=listener.getsockname()[1], length_s=0.2)

    assert (Outcome.CUT, True) == (reply.outcome, reply.end_ns > reply.send_ns)
    assert 0 == reply.reads


def test_connection_that_does_not_come_is_given_up() -> None:
    """After the stall time, and told as what it is."""
    with full() as listener, socket.create_connection(listener.getsockname()):
        with FakeEngine(steady()) as engine:
            (reply,) = sent(engine, port=listener.getsockname()[1], requests=1, stall_s=0.3)

    assert (Outcome.CONNECT, "no connection within 0.3 s") == (reply.outcome, reply.detail)


def test_every_address_of_a_name_is_tried() -> None:
    """`localhost` may be ::1 first, where nobody listens."""
    with FakeEngine(steady(tokens=1)) as engine:
        (reply,) = sent(engine, host="localhost", requests=1)

    assert Outcome.OK is reply.outcome


def test_host_without_an_address_is_told() -> None:
    """As an outcome like any other that keeps a request from its engine."""
    with FakeEngine(steady()) as engine:
        (reply,) = sent(engine, host="nowhere.invalid", requests=1)

    assert (Outcome.CONNECT, "the host's name has no address") == (reply.outcome, reply.detail)


ERROR = b'data: {"error": {"message": "queue full"}}\n\n'


async def one_by_one(x: Exchange, *pieces: bytes) -> None:
    """A chunk and a read for each, and for the end."""
    await x.head()
    for piece in (*pieces, b""):
        await x.raw(b"%x\r\n%s\r\n" % (len(piece), piece))
        await asyncio.sleep(0.02)


def pauses_s(answer: Answer, requests: int) -> list[float]:
    """Between the end of each reply and the next request."""
    with FakeEngine(answer) as engine:
        replies = sent(engine, requests=requests)
    return [(after.send_ns - before.end_ns) / 1e9 for before, after in pairwise(replies)]


def test_error_is_seen_behind_what_ends_its_stream() -> None:
    """The error, the end mark and the end of the body may come in a read each."""

    async def failing(x: Exchange) -> None:
        await one_by_one(x, ERROR, b"data: [DONE]\n\n")

    assert pauses_s(failing, 2)[0] >= backoff_s(1)


def test_what_looks_like_an_error_in_the_midst_of_a_stream_is_text() -> None:
    """Where text comes as it is, without quotes that tell."""

    async def answer(x: Exchange) -> None:
        await one_by_one(x, ERROR, *[b"more"] * 4)

    assert pauses_s(answer, 2)[0] < backoff_s(1)


def test_an_error_is_forgotten_with_its_reply() -> None:
    """The next one, over the same connection, is good."""
    errors = iter((True, False, False))

    async def answer(x: Exchange) -> None:
        if next(errors):
            await one_by_one(x, ERROR)
        else:
            await x.head("200 OK", "Content-Length: 0\r\n")

    after_error_s, after_good_s = pauses_s(answer, 3)
    assert after_error_s >= backoff_s(1) > after_good_s


@pytest.mark.parametrize(
    ("piece", "failed"),
    [
        (b'data: {"error": {"message": "queue full"}}', True),
        (b'data: {"error":"queue full"}', True),
        (b'data: {"object": "error", "message": "queue full"}', True),
        (b'data: {"error": null, "object": "chat.completion.chunk"}', False),
        (b'data: {"choices":[{"delta":{"content":"\\"error\\": {"}}]}', False),
    ],
)
def test_every_shape_of_error_event_backs_off(piece: bytes, failed: bool) -> None:
    """And text that speaks of errors does not."""
    reply = Reply(id="x", user=0, prompt=0, send_ns=1, status=200)

    assert failed is users._failed(reply, piece)
