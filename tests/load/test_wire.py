"""The transport's traps, each against a real server on loopback: cuts, ends, closes, refusals, stamps."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Callable

import pytest

from orchestrator.domain.exchange import UNSTAMPED, Outcome
from orchestrator.load import clock, connection
from orchestrator.load.spec import Reply
from tests.fakes.engine import Answer, Exchange, FakeEngine, steady
from tests.load.test_connection import sent

CHUNKED = "Transfer-Encoding: chunked\r\n"


def one(answer: Answer, **changes: object) -> Reply:
    with FakeEngine(answer) as engine:
        (reply,) = sent(engine, **{"requests": 1, **changes})
    return reply


def in_reads(*parts: bytes, head: str = CHUNKED) -> Answer:
    """A response whose parts arrive one by one."""

    async def answer(x: Exchange) -> None:
        await x.head(extra=head)
        for part in parts:
            await asyncio.sleep(0.01)
            await x.raw(part)

    return answer


@pytest.mark.parametrize(
    ("parts", "body"),
    [
        ((b"5\r\nhello\r\n", b"0\r\n\r\n"), b"hello"),
        ((b"5\r\nhel", b"lo\r\n", b"0\r\n\r\n"), b"hello"),
        ((b"5", b"\r\nhello\r\n0\r\n\r\n"), b"hello"),
        ((b"1", b"0\r", b"\n0123456789abcdef\r\n0\r\n\r\n"), b"0123456789abcdef"),
        ((b"5\r\nhello\r\n0", b"\r", b"\n", b"\r", b"\n"), b"hello"),
        ((b"5\r\nhello\r\n0\r\n", b"\r\n"), b"hello"),
        ((b"5\r\nhello\r\n0\r\n\r", b"\n"), b"hello"),
        ((b"5;a=b\r\nhello\r\n", b'0;last="yes"\r\n\r\n'), b"hello"),
        ((b"5\r\nhello\r\n", b"0\r\nX-Sum: 1\r\n\r\n"), b"hello"),
        ((b"5\r\nhello\r\n", b"0\r\nX-Sum: 1", b"\r\n\r\n"), b"hello"),
        ((b"5\r\n0\r\n\r\n\r\n", b"5\r\nhello\r\n", b"0\r\n\r\n"), b"0\r\n\r\nhello"),
        ((b"c\r\nab0\r\n\r\n", b"hello\r\n0\r\n\r\n"), b"ab0\r\n\r\nhello"),
        ((b"9\r\ndata: a\r\n\r\n\r\n".replace(b"9", b"b"), b"0\r\n\r\n"), b"data: a\r\n\r\n"),
    ],
)
def test_end_of_chunks_is_seen_wherever_they_are_cut(parts: tuple[bytes, ...], body: bytes) -> None:
    """Never early, at what only looks like an end; never late; and the connection is kept."""
    with FakeEngine(in_reads(*parts)) as engine:
        replies = sent(engine, requests=2, stall_s=1.0)

        assert 1 == engine.connections
    assert [(Outcome.OK, body)] * 2 == [(r.outcome, b"".join(r.pieces)) for r in replies]


def test_each_piece_arrives_with_its_read() -> None:
    """The body's pieces carry the times of the reads that brought them, a cut chunk those of both."""
    reply = one(in_reads(b"5\r\nhe", b"llo\r\n5\r\nworld\r\n", b"0\r\n\r\n"))
    gaps_ms = [(b - a) / 1e6 for a, b in zip(reply.times_ns, reply.times_ns[1:], strict=False)]

    assert [b"he", b"llo", b"world"] == reply.pieces
    assert gaps_ms[0] > 5
    assert 0 == gaps_ms[1]
    assert reply.send_ns < reply.headers_ns < reply.times_ns[0] < reply.times_ns[-1] < reply.end_ns
    assert (4, 1) == (reply.reads, reply.coalesced)


def test_large_event_over_many_reads_is_whole() -> None:
    """Half a megabyte at once."""
    data = bytes(range(256)) * 2048
    reply = one(in_reads(b"%x\r\n%s\r\n" % (len(data), data), b"0\r\n\r\n"))

    assert (Outcome.OK, data) == (reply.outcome, b"".join(reply.pieces))


@pytest.mark.parametrize(
    ("head", "parts", "connections"),
    [
        ("Content-Length: 10\r\n", (b"hello", b"world"), 1),
        ("Content-Length: 10\r\nConnection: close\r\n", (b"hello", b"world"), 2),
    ],
)
def test_body_of_stated_length(head: str, parts: tuple[bytes, ...], connections: int) -> None:
    """It ends with its last byte, and the connection is kept unless the server says otherwise."""
    with FakeEngine(in_reads(*parts, head=head)) as engine:
        replies = sent(engine, requests=2)

        assert connections == engine.connections
    assert [(Outcome.OK, [b"hello", b"world"])] * 2 == [(r.outcome, r.pieces) for r in replies]


def test_interim_responses_are_passed_over() -> None:
    """100 Continue is not the answer, in a read of its own or with the answer's."""

    async def answer(x: Exchange) -> None:
        await x.raw(b"HTTP/1.1 100 Continue\r\n\r\n")
        await asyncio.sleep(0.01)
        await x.raw(b"HTTP/1.1 103 Early Hints\r\nContent-Length: 7\r\n\r\n")
        await x.head()
        await x.chunk(b"hello")
        await x.raw(b"0\r\n\r\n")

    reply = one(answer)

    assert (Outcome.OK, 200, [b"hello"]) == (reply.outcome, reply.status, reply.pieces)


def raw(serve: Callable[[socket.socket], None], **changes: object) -> list[Reply]:
    """The replies of a server that serves one connection, byte by byte as it likes."""
    listener = socket.create_server(("127.0.0.1", 0))

    def run() -> None:
        with listener, listener.accept()[0] as theirs:
            serve(theirs)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    with FakeEngine(steady()) as unused:
        replies = sent(unused, **{"port": listener.getsockname()[1], "requests": 1, **changes})
    thread.join(5)
    return replies


def reset(sock: socket.socket) -> None:
    """Close with RST instead of FIN."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def test_large_request_is_sent_in_parts() -> None:
    """The kernel takes what fits; the request counts as sent when its last byte is."""
    size, paused_s = 24 << 20, 0.3

    def serve(theirs: socket.socket) -> None:
        threading.Event().wait(paused_s)  # meanwhile the buffers are full
        got = 0
        while got < size:
            got += len(theirs.recv(1 << 20))
        theirs.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")

    (reply,) = raw(serve, bodies=(b" " * size,))

    assert (Outcome.OK, [b"hello"]) == (reply.outcome, reply.pieces)
    assert reply.headers_ns > reply.send_ns
    # from then until the answer there is no pause left, though there was one since the connection was opened
    assert reply.headers_ns - reply.send_ns < paused_s * 1e9


def test_answer_before_the_request_is_whole_is_taken() -> None:
    """A server may refuse a large request early."""

    def serve(theirs: socket.socket) -> None:
        theirs.recv(1000)
        theirs.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        theirs.shutdown(socket.SHUT_WR)
        while theirs.recv(1 << 20):
            pass

    (reply,) = raw(serve, bodies=(b" " * (24 << 20),))

    assert (Outcome.OK, 413, True) == (reply.outcome, reply.status, reply.end_ns >= reply.send_ns > 0)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello",
    ],
)
def test_reset_connection_is_a_disconnect(answer: bytes) -> None:
    """Before the answer, within its chunks, and where only a proper close would have ended it."""

    def serve(theirs: socket.socket) -> None:
        theirs.recv(1000)
        theirs.sendall(answer)
        threading.Event().wait(0.05)  # a reset overtakes what is still unread
        reset(theirs)

    (reply,) = raw(serve)

    assert (Outcome.DISCONNECT, "reset" in reply.detail) == (reply.outcome, True)
    assert (b"hello" if answer else b"") == b"".join(reply.pieces)


def test_close_within_the_headers_is_a_disconnect() -> None:
    """Half a head is no answer."""

    async def answer(x: Exchange) -> None:
        await x.raw(b"HTTP/1.1 200 OK\r\nContent-")
        x.close = True

    assert Outcome.DISCONNECT is one(answer).outcome


@pytest.mark.parametrize("status", ["429 Too Many Requests", "503 Busy"])
def test_storm_of_refusals_over_many_users_keeps_connections(status: str) -> None:
    """Everybody backs off, nobody is lost, no connection is opened twice."""

    async def answer(x: Exchange) -> None:
        await x.head(status, "Content-Length: 4\r\nRetry-After: 1\r\n")
        await x.raw(b"busy")

    with FakeEngine(answer) as engine:
        replies = sent(engine, users=50, length_s=0.8)

        assert 50 == engine.connections
    # at 0, 0.1, 0.3 and 0.7 s, or a little later
    assert 2 * 50 <= len(replies) <= 4 * 50
    assert {int(status[:3])} == {r.status for r in replies}


def test_server_that_closes_kept_connections_at_once_loses_no_request() -> None:
    """Its close crosses our next request, again and again."""

    async def answer(x: Exchange) -> None:
        await steady(tokens=1, ttft_s=0.0)(x)
        x.close = True

    with FakeEngine(answer) as engine:
        replies = sent(engine, users=8, requests=200)

        assert 200 == engine.connections
        assert 200 == len(set(engine.request_ids))
    assert [Outcome.OK] * 200 == [r.outcome for r in replies]


def test_every_read_is_stamped_by_the_kernel() -> None:
    """And the client's lag is told, of each piece and at most."""
    with FakeEngine(steady(tokens=8)) as engine:
        replies = sent(engine, requests=3)
    last = replies[-1]

    assert last.reads == last.stamped > 0
    assert len(last.pieces) == len(last.lags_ns)
    assert 0 <= min(last.lags_ns) <= max(last.lags_ns) <= last.lag_max_ns < 1e9
    assert last.send_ns < last.headers_ns <= last.times_ns[0]


def test_without_the_kernels_stamps_our_own_stand() -> None:
    """Nothing is lost but the knowledge of the lag, and that is told."""
    reply = one(steady(tokens=3), kernel_stamps=False)

    assert (Outcome.OK, 0, 0) == (reply.outcome, reply.stamped, reply.lag_max_ns)
    assert {UNSTAMPED} == set(reply.lags_ns)
    assert reply.send_ns < reply.times_ns[0] < reply.end_ns


def test_kernel_that_refuses_to_stamp_is_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some sandboxes know no such option."""
    monkeypatch.setattr(connection, "SO_TIMESTAMPNS", 9999)
    reply = one(steady(tokens=3))

    assert (Outcome.OK, 0) == (reply.outcome, reply.stamped)


def test_set_clock_moves_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel's clock is set by an hour in the middle of a stream: arrivals stay where they were."""
    sample = clock.sample
    step_ns = 3600 * 10**9
    began: list[int] = []

    def stepping() -> tuple[int, int] | None:
        """As if the clock had been an hour ahead until just now: the true offset comes with the third sample."""
        found = sample()
        if found is None:
            return None
        began.append(found[0])
        return (found[0], found[1] + step_ns) if len(began) < 3 else found

    monkeypatch.setattr(clock, "sample", stepping)
    reply = one(steady(tokens=10, itl_s=0.03))
    gaps_ms = [(b - a) / 1e6 for a, b in zip(reply.times_ns[1:11], reply.times_ns[2:11], strict=False)]

    assert all(15 < gap < 100 for gap in gaps_ms)
    assert all(reply.send_ns < t <= reply.end_ns for t in reply.times_ns)


def test_stall_of_ours_does_not_move_arrivals(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client stands still for 100 ms: the kernel's stamp tells when the bytes came, the lag tells the rest."""
    read = connection.Connection._on_readable
    stalls = iter([False, False, False, True])

    def late(self: connection.Connection) -> None:
        if next(stalls, False):
            threading.Event().wait(0.1)
        read(self)

    monkeypatch.setattr(connection.Connection, "_on_readable", late)
    reply = one(in_reads(b"1\r\na\r\n", b"1\r\nb\r\n", b"0\r\n\r\n"))

    assert 4 == reply.reads
    assert (reply.end_ns - reply.times_ns[1]) / 1e6 < 60
    assert 0.1e9 <= reply.lag_max_ns < 0.3e9
