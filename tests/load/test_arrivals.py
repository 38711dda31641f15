"""The open loop against a real server on loopback: an exact schedule on either side."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from backends.contract import Dialect, RequestSpec
from orchestrator.domain.exchange import Outcome
from orchestrator.domain.metrics import Asked, Metrics, summarise
from orchestrator.domain.windows import Span
from orchestrator.domain.workload import Arrivals, Sampling
from orchestrator.load.client import LoadClient, Record
from orchestrator.load.dialects import body
from orchestrator.load.spec import LoadSpec
from orchestrator.pace import due_ns
from orchestrator.selftest.server import Log, ReferenceServer, Schedule
from tests.fakes.engine import Answer, Exchange, FakeEngine, steady

CHAT = Dialect.OPENAI_CHAT
SPEC = LoadSpec(
    tag="r",
    host="127.0.0.1",
    port=0,
    path="/v1/chat/completions",
    users=64,
    ramp_s=0.0,
    bodies=tuple(body(RequestSpec(dialect=CHAT), "tiny", text, None, Sampling()) for text in "abc"),
    stall_s=5.0,
    request_s=10.0,
)


@pytest.fixture(scope="module")
def client() -> Iterator[LoadClient]:
    with LoadClient() as running:
        yield running


def every(gap_s: float, count: int) -> array[int]:
    return array("q", [round(i * gap_s * 1e9) for i in range(count)])


def drive(client: LoadClient, port: int, due: array[int], **changes: object) -> Record:
    spec = replace(SPEC, port=port, due_ns=due, **changes)  # type: ignore[arg-type]
    return client.run(spec, CHAT, on_live=lambda _: None, watch=lambda: None)


def answered(
    client: LoadClient, answer: Answer, due: array[int], **changes: object
) -> tuple[Record, FakeEngine]:
    with FakeEngine(answer) as engine:
        return drive(client, engine.port, due, **changes), engine


def arrivals_ns(record: Record, log: Log) -> tuple[list[int], list[int]]:
    """When each request was due, and when it was there by the server's own log."""
    found = sorted(record.exchanges, key=lambda x: x.scheduled_ns)
    return [x.scheduled_ns for x in found], [log[x.id].arrival_ns for x in found]


def test_requests_arrive_when_they_are_due(client: LoadClient) -> None:
    """By the server's log, Poisson gaps and all: none is missing, none early, most within a millisecond."""
    due = due_ns(Arrivals.POISSON, 100.0, ramp_s=0.0, length_s=3.0, seed="x")
    with ReferenceServer(Schedule(ttft_s=0.02, itl_s=0.01, tokens=3)) as server:
        record = drive(client, server.port, due, length_s=3.5)
        planned, came = arrivals_ns(record, server.take_log())
    late_ns = np.array(came) - np.array(planned)

    assert [record.start_ns + t for t in due] == planned
    assert (late_ns >= 0).all()
    assert np.median(late_ns) < 5e6  # 0.2 ms on a quiet machine
    assert np.median(np.diff(planned)) == pytest.approx(np.median(np.diff(came)), rel=0.2)
    assert {Outcome.OK} == {x.outcome for x in record.exchanges}


def test_a_thousand_requests_a_second_are_sent(client: LoadClient) -> None:
    """A burst that a closed loop of so many users would never make: each is there, on time, once."""
    due = every(0.001, 1000)
    with ReferenceServer(Schedule(ttft_s=0.05, itl_s=0.01, tokens=2)) as server:
        record = drive(client, server.port, due, length_s=2.5, users=1024)
        planned, came = arrivals_ns(record, server.take_log())
    late_ns = np.array(came) - np.array(planned)

    assert 1000 == len(record.exchanges) == len({x.id for x in record.exchanges})
    assert {Outcome.OK} == {x.outcome for x in record.exchanges}
    assert (late_ns >= 0).all()
    assert np.median(late_ns) < 50e6  # 1 ms on a quiet machine, at 1000/s a machine ten times slower has work


def test_a_slow_server_does_not_slow_the_arrivals(client: LoadClient) -> None:
    """Where a closed loop would wait for its answers, and so hide them."""
    record, engine = answered(client, steady(tokens=2, ttft_s=0.5), every(0.05, 20), length_s=2.5)
    sent_s = sorted((x.send_ns - record.start_ns) / 1e9 for x in record.exchanges)

    assert [Outcome.OK] * 20 == [x.outcome for x in record.exchanges]
    assert all(abs(at_s - 0.05 * i) < 0.2 for i, at_s in enumerate(sent_s))
    assert engine.connections >= 8  # ten are in flight at a time


def test_what_is_due_beyond_the_bound_waits_and_its_wait_counts(client: LoadClient) -> None:
    """Two may be in flight, each for 0.2 s, and twenty are due at once: in order, the last 1.8 s late."""
    record, engine = answered(client, steady(tokens=1, ttft_s=0.2), every(0.0001, 20), length_s=8.0, users=2)
    by_due = sorted(record.exchanges, key=lambda x: x.scheduled_ns)
    delays_s = [(x.send_ns - x.scheduled_ns) / 1e9 for x in by_due]

    assert (2, 18) == (engine.connections, record.held)
    assert [Outcome.OK] * 20 == [x.outcome for x in by_due]
    assert [f"r-{i}" for i in range(20)] == engine.request_ids
    assert [x.send_ns for x in by_due] == sorted(x.send_ns for x in by_due)
    assert all(delay_s >= 0.2 * (i // 2) * 0.95 for i, delay_s in enumerate(delays_s))
    m = measured(record, ramp_s=0.0)
    assert m.ttft_s.max is not None
    assert m.ttft_sent_s.max is not None
    assert m.ttft_s.max >= 1.9 > m.ttft_sent_s.max


def test_what_was_never_sent_is_not_lost(client: LoadClient) -> None:
    """One may be in flight and its answer does not come: the others are cut, waiting since they were due."""

    async def never(x: Exchange) -> None:
        await asyncio.sleep(30)

    record, engine = answered(client, never, every(0.1, 8), length_s=1.0, users=1)
    unsent = [x for x in record.exchanges if not x.send_ns]
    m = measured(record, ramp_s=0.0)

    assert 1 == len(engine.requests)
    assert (8, 7) == (len(record.exchanges), len(unsent))
    assert {Outcome.CUT} == {x.outcome for x in record.exchanges}
    assert (8, 8) == (m.cut, m.unanswered)
    assert m.unanswered_wait_max_s is not None
    assert m.unanswered_wait_max_s >= 0.9
    assert 1.0 >= m.sent_per_s * m.steady_length_s
    assert 1 == m.send_delay_s.n


def test_failures_slow_nothing_down(client: LoadClient) -> None:
    """There is no user to back off: every request that is due is sent."""

    async def busy(x: Exchange) -> None:
        await x.head("503 Busy", "Content-Length: 4\r\n")
        await x.raw(b"busy")

    record, engine = answered(client, busy, every(0.02, 30), length_s=1.5)

    assert [Outcome.HTTP_STATUS] * 30 == [x.outcome for x in record.exchanges]
    assert 30 == len(engine.requests)


def test_connections_are_kept(client: LoadClient) -> None:
    """A low rate needs one."""
    _, engine = answered(client, steady(tokens=1, ttft_s=0.0), every(0.2, 6), length_s=1.5)

    assert (1, 6) == (engine.connections, len(engine.requests))


def test_the_connection_that_was_left_last_is_taken(client: LoadClient) -> None:
    """Two requests at once need two; the one whose answer took longer serves all that follow one by one."""
    by: list[int] = []
    takes_s = [0.5, 1.0, 0.0, 0.0]

    async def answer(x: Exchange) -> None:
        by.append(id(x.writer))
        await steady(tokens=1, ttft_s=takes_s.pop(0))(x)

    answered(client, answer, array("q", [0, 50_000_000, 2_000_000_000, 2_500_000_000]), length_s=3.2)

    assert by[1] != by[0]
    assert [by[1], by[1]] == by[2:]


def test_bodies_come_in_their_order(client: LoadClient) -> None:
    """And go round at their end."""
    record, _ = answered(client, steady(tokens=1, ttft_s=0.0), every(0.05, 7), length_s=1.0)

    assert [0, 1, 2, 0, 1, 2, 0] == [x.prompt for x in sorted(record.exchanges, key=lambda x: x.scheduled_ns)]


def test_processes_share_the_requests() -> None:
    """Each request is sent by one of them, when it is due."""
    with LoadClient(shards=2) as two, FakeEngine(steady(tokens=1, ttft_s=0.0)) as engine:
        record = drive(two, engine.port, every(0.02, 21), length_s=1.5, users=8)

    assert sorted(f"r-{i}" for i in range(21)) == sorted(x.id for x in record.exchanges)
    assert [record.start_ns + t for t in every(0.02, 21)] == sorted(x.scheduled_ns for x in record.exchanges)


def test_nobody_listens(client: LoadClient) -> None:
    """Each is a refused connection, and the loop goes on."""
    with FakeEngine(steady()) as engine:
        port = engine.port
    record = drive(client, port, every(0.05, 5), length_s=0.6)

    assert [Outcome.CONNECT] * 5 == [x.outcome for x in record.exchanges]


def measured(record: Record, *, ramp_s: float) -> Metrics:
    span = Span(
        start_ns=record.start_ns, steady_ns=record.start_ns + round(ramp_s * 1e9), end_ns=record.end_ns
    )
    return summarise(record.exchanges, span, window_s=1.0, asked=Asked())
