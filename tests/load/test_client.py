"""The client's process against a real server on loopback, faults and all."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing import Pipe, get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
import pytest

from backends.contract import Dialect, RequestSpec
from orchestrator.domain.exchange import Exchange as Sent
from orchestrator.domain.exchange import Outcome
from orchestrator.domain.workload import Sampling
from orchestrator.errors import CellError
from orchestrator.load import worker
from orchestrator.load.client import POOL, Live, LoadClient, Record
from orchestrator.load.dialects import body
from orchestrator.load.spec import LoadSpec, Order, Ready
from tests.fakes.engine import Answer, Exchange, FakeEngine, steady

CHAT = Dialect.OPENAI_CHAT
SPEC = LoadSpec(
    tag="t",
    host="127.0.0.1",
    port=0,
    path="/v1/chat/completions",
    users=1,
    ramp_s=0.0,
    bodies=(body(RequestSpec(dialect=CHAT), "tiny", "hello", None, Sampling()),),
    stall_s=5.0,
    request_s=10.0,
)


@pytest.fixture(scope="module")
def client() -> Iterator[LoadClient]:
    with LoadClient() as running:
        yield running


def drive(client: LoadClient, engine: FakeEngine, **changes: object) -> Record:
    spec = replace(SPEC, port=engine.port, **changes)  # type: ignore[arg-type]
    return client.run(spec, CHAT, on_live=lambda _: None, watch=lambda: None)


def one(client: LoadClient, answer: Answer, **changes: object) -> Sent:
    with FakeEngine(answer) as engine:
        (x,) = drive(client, engine, **{"requests": 1, **changes}).exchanges
    return x


def test_times_follow_the_servers_schedule(client: LoadClient) -> None:
    """TTFT and gaps are those that the server made, within what a shared machine allows."""
    x = one(client, steady(tokens=5, ttft_s=0.1, itl_s=0.03))
    gaps_s = [float(b - a) / 1e9 for a, b in zip(x.event_ns, x.event_ns[1:], strict=False)]

    assert Outcome.OK is x.outcome
    assert 0.1 <= (x.first_token_ns - x.send_ns) / 1e9 < 0.15
    assert len(gaps_s) == 4
    assert all(0.02 < gap < 0.08 for gap in gaps_s)
    assert x.send_ns < x.headers_ns < x.first_event_ns <= x.first_token_ns < int(x.event_ns[-1]) <= x.end_ns


def test_counts_and_finish_reason_come_through(client: LoadClient) -> None:
    """Usage and finish reason are the server's."""
    x = one(client, steady(tokens=5))

    assert (x.prompt_tokens, x.completion_tokens, x.finish_reason, x.connects) == (5, 5, "stop", 1)


def test_closed_loop_with_ramp_and_cut(client: LoadClient) -> None:
    """Users start over the ramp, keep their connections, and what is in flight at the end is cut."""
    with FakeEngine(steady(tokens=4, ttft_s=0.01, itl_s=0.01)) as engine:
        record = drive(client, engine, users=5, ramp_s=0.5, length_s=1.0)
        first_sends = [min(x.send_ns for x in record.exchanges if x.user == k) for k in range(5)]
        starts_s = [(t - record.start_ns) / 1e9 for t in first_sends]

        assert all(abs(s - 0.1 * k) < 0.08 for k, s in enumerate(starts_s))
        assert engine.connections == 5
        assert {Outcome.OK, Outcome.CUT} == {x.outcome for x in record.exchanges}
        assert 0.95 < (record.end_ns - record.start_ns) / 1e9 < 1.3
        assert len(engine.requests) == len(record.exchanges)


def test_several_processes_share_users_and_requests() -> None:
    """Each user and each request belongs to one of them; with fewer users than processes some stay idle."""
    with LoadClient(shards=2) as two, FakeEngine(steady(tokens=1, ttft_s=0.0)) as engine:
        record = drive(two, engine, users=3, requests=7)

        assert sorted(f"t-{draw}" for draw in range(7)) == sorted(engine.request_ids)
        assert [Outcome.OK] * 7 == [x.outcome for x in record.exchanges]
        assert {0, 1, 2} == {x.user for x in record.exchanges}
        assert [x.end_ns for x in record.exchanges] == sorted(x.end_ns for x in record.exchanges)
        assert 1 == len(drive(two, engine, users=1, requests=1).exchanges)


def test_request_ids_reach_the_server(client: LoadClient) -> None:
    """Every request can be found in a server's own log."""
    with FakeEngine(steady(tokens=1)) as engine:
        record = drive(client, engine, requests=3)

        assert [x.id for x in record.exchanges] == engine.request_ids
        assert engine.request_ids == ["t-0", "t-1", "t-2"]


def test_split_chunks_and_split_characters(client: LoadClient) -> None:
    """HTTP chunks over several reads and characters over several chunks are put together."""

    async def answer(x: Exchange) -> None:
        await x.head()
        text = '{"choices":[{"delta":{"content":"né"},"finish_reason":"stop"}]}'.encode()
        event = b"data: " + text + b"\n\n"
        raw = b"%x\r\n%s\r\n" % (len(event), event)
        for byte in range(0, len(raw), 7):
            await x.raw(raw[byte : byte + 7])
            await asyncio.sleep(0.002)
        await x.done()

    x = one(client, answer)

    assert (x.outcome, len(x.event_ns), x.text_chars) == (Outcome.OK, 1, 2)


def test_large_events_pass(client: LoadClient) -> None:
    """An event of 200 kB is one event."""

    async def answer(x: Exchange) -> None:
        await x.head()
        await x.token("w" * 200_000, finish="stop")
        await x.done()

    assert one(client, answer).text_chars == 200_000


def test_stall_within_a_stream_is_ended(client: LoadClient) -> None:
    """An engine that falls silent is a failure after the stall time, not a wait for ever."""

    async def answer(x: Exchange) -> None:
        await x.head()
        await x.token("a")
        await asyncio.sleep(60)

    began_s = time.monotonic()
    x = one(client, answer, stall_s=0.5)

    assert (x.outcome, len(x.event_ns)) == (Outcome.STALL, 1)
    assert time.monotonic() - began_s < 3


def test_endless_stream_is_ended(client: LoadClient) -> None:
    """A request has a longest time, however busily it streams."""

    async def answer(x: Exchange) -> None:
        await x.head()
        while True:
            await x.token("a")
            await asyncio.sleep(0.02)

    assert Outcome.TIMEOUT is one(client, answer, request_s=0.5).outcome


def test_disconnect_after_200(client: LoadClient) -> None:
    """A connection that closes within the reply is a failure with what had come."""

    async def answer(x: Exchange) -> None:
        await x.head()
        await x.token("a")
        x.close = True

    x = one(client, answer)

    assert (x.outcome, len(x.event_ns)) == (Outcome.DISCONNECT, 1)


def test_body_that_ends_with_the_connection(client: LoadClient) -> None:
    """Without a length, the end of the connection is the end of the reply."""

    async def answer(x: Exchange) -> None:
        await x.head(extra="Connection: close\r\n")
        await x.raw(b'data: {"choices":[{"delta":{"content":"a"},"finish_reason":"stop"}]}\n\n')
        x.close = True

    assert Outcome.OK is one(client, answer).outcome


def test_kept_connection_that_the_server_closed_is_opened_again(client: LoadClient) -> None:
    """Engines close kept connections after some uses; the request goes out once more, unharmed."""
    served = 0

    async def answer(x: Exchange) -> None:
        nonlocal served
        served += 1
        await steady(tokens=1)(x)
        x.close = served % 2 == 0

    with FakeEngine(answer) as engine:
        record = drive(client, engine, requests=6)

        assert [x.outcome for x in record.exchanges] == [Outcome.OK] * 6
        assert engine.connections == 3


def test_not_http_is_malformed(client: LoadClient) -> None:
    """Something else on the port is told as such."""

    async def answer(x: Exchange) -> None:
        await x.raw(b"SSH-2.0-OpenSSH_9.2\r\n")

    assert Outcome.MALFORMED is one(client, answer).outcome


def test_failures_back_off_and_never_kill_a_user(client: LoadClient) -> None:
    """A storm of 503 is answered with pauses; the user lives on and succeeds in the end."""
    seen = 0

    async def answer(x: Exchange) -> None:
        nonlocal seen
        seen += 1
        if seen <= 3:
            await x.head("503 Busy", "Content-Length: 4\r\n")
            await x.raw(b"busy")
        else:
            await steady(tokens=1)(x)

    with FakeEngine(answer) as engine:
        record = drive(client, engine, length_s=1.5, think_s=0.05)
        outcomes = [x.outcome for x in record.exchanges]

        assert outcomes[:3] == [Outcome.HTTP_STATUS] * 3
        assert Outcome.OK is outcomes[3]
        waits_s = [
            (b.send_ns - a.end_ns) / 1e9
            for a, b in zip(record.exchanges[:3], record.exchanges[1:4], strict=True)
        ]
        assert all(w >= 0.9 * expected for w, expected in zip(waits_s, (0.1, 0.2, 0.4), strict=True))


def test_error_events_back_off_too(client: LoadClient) -> None:
    """A 200 that carries an error object is no reason to hammer the engine."""

    async def answer(x: Exchange) -> None:
        await x.head()
        await x.event({"error": {"message": "queue full"}})
        await x.done()

    with FakeEngine(answer) as engine:
        record = drive(client, engine, length_s=1.0)

        assert {Outcome.ENGINE_ERROR} == {x.outcome for x in record.exchanges} - {Outcome.CUT}
        assert len(record.exchanges) <= 5


def test_nobody_listens(client: LoadClient) -> None:
    """A refused connection is an outcome, not an exception."""
    with FakeEngine(steady()) as engine:
        port = engine.port
    record = client.run(
        replace(SPEC, port=port, requests=1), CHAT, on_live=lambda _: None, watch=lambda: None
    )

    assert [x.outcome for x in record.exchanges] == [Outcome.CONNECT]


def test_live_figures_while_it_runs(client: LoadClient) -> None:
    """Once a second the state of the load is told."""
    seen: list[Live] = []
    with FakeEngine(steady(tokens=10, ttft_s=0.02, itl_s=0.01)) as engine:
        client.run(
            replace(SPEC, port=engine.port, users=3, length_s=2.5),
            CHAT,
            on_live=seen.append,
            watch=lambda: None,
        )

    assert len(seen) == 2
    assert seen[-1].ended > seen[0].ended > 0
    assert seen[-1].ttft_s is not None
    assert 0.02 <= seen[-1].ttft_s < 0.06
    assert 50 < seen[-1].tokens_per_s < 300  # 250 on an idle machine


def test_live_figures_count_bundled_tokens_and_failures(client: LoadClient) -> None:
    """A chunk may hold several tokens; failures are told while the load runs."""
    seen: list[Live] = []
    served = 0

    async def answer(x: Exchange) -> None:
        nonlocal served
        served += 1
        if served % 2:
            await x.head("503 Busy", "Content-Length: 0\r\n")
            return
        await x.head()
        await x.token("a b c d", finish="stop")
        await x.usage(5, 300)
        await x.done()

    with FakeEngine(answer) as engine:
        spec = replace(SPEC, port=engine.port, length_s=1.5, think_s=0.05)
        client.run(spec, CHAT, on_live=seen.append, watch=lambda: None)

    assert seen[-1].failed > 0
    assert seen[-1].tokens_per_s > 10 * seen[-1].ended  # 300 tokens in at most four chunks


def test_a_silent_engine_has_no_recent_ttft(client: LoadClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """The figure is of the last seconds, not of the last time that anything came."""
    monkeypatch.setattr("orchestrator.load.client.RECENT_S", 0.5)
    seen: list[Live] = []

    async def answer(x: Exchange) -> None:
        if len(engine.requests) > 3:
            await asyncio.sleep(30)
        await steady(tokens=2, ttft_s=0.01, itl_s=0.01)(x)

    with FakeEngine(answer) as engine:
        spec = replace(SPEC, port=engine.port, length_s=2.5)
        client.run(spec, CHAT, on_live=seen.append, watch=lambda: None)

    assert 3 == seen[-1].ended
    assert seen[-1].ttft_s is None


def test_memory_does_not_grow_with_the_length_of_a_load(
    client: LoadClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it runs no more exchanges are held than ended of late."""
    monkeypatch.setattr("orchestrator.load.client.RECENT_S", 0.2)
    held: list[tuple[int, int]] = []

    def count(live: Live) -> None:
        held.append((live.ended, sum(isinstance(x, Sent) for x in gc.get_objects())))

    before = sum(isinstance(x, Sent) for x in gc.get_objects())
    with FakeEngine(steady(tokens=1, ttft_s=0.0)) as engine:
        spec = replace(SPEC, port=engine.port, length_s=3.5)
        record = client.run(spec, CHAT, on_live=count, watch=lambda: None)

    ended, last = held[-1]
    assert ended > 100
    assert last - before < ended / 2
    assert len(record.exchanges) >= ended


def test_watch_ends_a_load_at_once_and_the_client_serves_on(client: LoadClient) -> None:
    """When the engine is found dead the load stops, and the client can be used again."""

    class DeadError(Exception):
        pass

    began_s = time.monotonic()

    def watch() -> None:
        if time.monotonic() - began_s > 0.5:
            raise DeadError

    with FakeEngine(steady()) as engine:
        spec = replace(SPEC, port=engine.port, users=2, length_s=30.0)
        with pytest.raises(DeadError):
            client.run(spec, CHAT, on_live=lambda _: None, watch=watch)

        assert time.monotonic() - began_s < 3
        assert len(drive(client, engine, requests=1).exchanges) == 1


def said(number: int) -> bytes:
    return body(RequestSpec(dialect=CHAT), "tiny", str(number), None, Sampling())


def test_a_user_runs_through_its_session(client: LoadClient) -> None:
    """Turn by turn; two users never share one."""
    with FakeEngine(steady(tokens=2)) as engine:
        record = drive(
            client, engine, users=2, requests=3, bodies=tuple(map(said, range(6))), turns=(2, 3, 1)
        )
    by_user = [[x.prompt for x in record.exchanges if x.user == user] for user in range(2)]

    assert [[0, 1], [2, 3, 4]] == [prompts[:n] for prompts, n in zip(by_user, (2, 3), strict=True)]
    assert list(range(6)) == sorted(x.prompt for x in record.exchanges)
    assert {f"t-{i}" for i in range(6)} == {x.id for x in record.exchanges}


def test_a_session_is_left_at_a_failure(client: LoadClient) -> None:
    """What would come next depends on an answer that never came."""

    async def broken(x: Exchange) -> None:
        if x.body["messages"][-1]["content"] == "1":
            await x.raw(b"HTTP/1.1 500 Broken\r\nContent-Length: 0\r\n\r\n")
        else:
            await steady(tokens=2)(x)

    with FakeEngine(broken) as engine:
        record = drive(client, engine, requests=2, bodies=tuple(map(said, range(4))), turns=(3, 1))

    assert [0, 1, 3] == [x.prompt for x in record.exchanges]


def test_a_load_that_is_stopped_keeps_what_came(client: LoadClient) -> None:
    """What was in flight is cut, and the client serves on."""
    seen: list[Live] = []
    with FakeEngine(steady()) as engine:
        record = client.run(
            replace(SPEC, port=engine.port, users=2, length_s=60.0),
            CHAT,
            on_live=seen.append,
            watch=lambda: None,
            stop=lambda: bool(seen),
        )
        again = drive(client, engine, requests=1)

    assert 1.0 < (record.end_ns - record.start_ns) / 1e9 < 10.0
    assert {Outcome.OK} <= {x.outcome for x in record.exchanges} <= {Outcome.OK, Outcome.CUT}
    assert [Outcome.OK] == [x.outcome for x in again.exchanges]


PROGRAM = """
import pyarrow, time
from pathlib import Path
from orchestrator.load.client import POOL, LoadClient

if __name__ == "__main__":
    import os
    with LoadClient() as client:
        proc = Path("/proc", str(client.pids[0]))
        while "httptools" not in (maps := (proc / "maps").read_text()):
            time.sleep(0.05)
        time.sleep(0.5)
        threads = (proc / "status").read_text().partition("Threads:")[2].split()[0]
        print(threads, "arrow" in (proc / "maps").read_text(), os.environ.get(POOL))
"""


def test_the_clients_process_is_bare(tmp_path: Path) -> None:
    """One thread, and nothing of the program that started it: the kernel takes longer over every call of a
    process with several. Ours keeps its own setting."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), POOL: "2"}
    said = subprocess.run(
        [sys.executable, str(program)], env=environment, capture_output=True, check=True, timeout=120
    )

    assert ["1", "False", "2"] == said.stdout.decode().split()


def test_descriptors_have_their_place_before_the_load() -> None:
    """The kernel's table is as large as it will get; nothing is left open."""
    before = psutil.Process().num_fds()
    worker._make_room(3000)

    status = Path("/proc/self/status").read_text(encoding="ascii")
    assert int(status.partition("FDSize:")[2].split()[0]) > 3000
    assert before == psutil.Process().num_fds()


def test_death_of_the_clients_process_is_told() -> None:
    """Should the client itself be killed, the cell fails with that reason."""
    with LoadClient() as doomed, FakeEngine(steady()) as engine:
        (pid,) = doomed.pids
        began_s = time.monotonic()

        def watch() -> None:
            if time.monotonic() - began_s > 0.3:
                os.kill(pid, signal.SIGKILL)

        spec = replace(SPEC, port=engine.port, length_s=30.0)
        with pytest.raises(CellError, match="load client's process died"):
            doomed.run(spec, CHAT, on_live=lambda _: None, watch=watch)


def test_a_client_that_says_nothing_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stopped client (SIGSTOP) sends no end: its silence fails the cell, and it is killed at the exit."""
    monkeypatch.setattr("orchestrator.load.client.SILENT_S", 2.0)
    monkeypatch.setattr("orchestrator.load.client.STOP_S", 0.2)
    with LoadClient() as stopped, FakeEngine(steady()) as engine:
        (pid,) = stopped.pids
        os.kill(pid, signal.SIGSTOP)
        spec = replace(SPEC, port=engine.port, length_s=30.0)
        with pytest.raises(CellError, match="has said nothing for 2 s"):
            stopped.run(spec, CHAT, on_live=lambda _: None, watch=lambda: None)

    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_client_whose_parent_was_killed_ends_in_silence() -> None:
    """kill -9 of a run leaves neither its client nor a traceback in the terminal."""
    ours, theirs = Pipe()
    with FakeEngine(steady()) as engine, TemporaryDirectory() as folder:
        process = get_context("spawn").Process(target=worker.main, args=(theirs,))
        process.start()
        theirs.close()
        spec = replace(SPEC, port=engine.port, length_s=30.0)
        ours.send(Order(spec, shard=0, shards=1, folder=Path(folder)))
        assert Ready() == ours.recv()
        ours.send(time.perf_counter_ns())
        assert ours.poll(10.0)
        ours.close()  # with a message unread: the other end gets ECONNRESET, as from one that was killed
        process.join(5.0)

        assert 0 == process.exitcode
        process.close()


def test_ctrl_c_does_not_reach_the_client(client: LoadClient) -> None:
    """A terminal sends Ctrl-C to every process; only the orchestrator decides what it means."""
    (pid,) = client.pids
    assert pid is not None
    with FakeEngine(steady()) as engine:
        drive(client, engine, requests=1)
        os.kill(pid, signal.SIGINT)
        os.kill(pid, signal.SIGTERM)
        os.kill(pid, signal.SIGHUP)

        assert len(drive(client, engine, requests=1).exchanges) == 1


def test_the_client_ends_with_a_killed_orchestrator() -> None:
    """Its load must not go on against an engine that nobody watches any more."""
    program = (
        "import os, signal, time\n"
        "from dataclasses import replace\n"
        "from tests.fakes.engine import FakeEngine, steady\n"
        "from tests.load.test_client import CHAT, SPEC, LoadClient\n"
        "if __name__ == '__main__':\n"
        "    with LoadClient() as client, FakeEngine(steady()) as engine:\n"
        "        print(client.pids[0], flush=True)\n"
        "        def live(state):\n"
        "            time.sleep(1.5)  # words of the client's are unread then: its pipe is reset, not ended\n"
        "            os.kill(os.getpid(), signal.SIGKILL)\n"
        "        spec = replace(SPEC, port=engine.port, length_s=60.0)\n"
        "        client.run(spec, CHAT, on_live=live, watch=lambda: None)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as orchestrator:
        assert orchestrator.stdout is not None
        pid = int(orchestrator.stdout.readline())
        assert -signal.SIGKILL == orchestrator.wait(30)
        until_s = time.monotonic() + 10
        while psutil.pid_exists(pid) and time.monotonic() < until_s:
            time.sleep(0.05)

        assert not psutil.pid_exists(pid)
