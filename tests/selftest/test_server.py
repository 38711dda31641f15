"""The reference server keeps its schedule and tells the truth about it."""

from __future__ import annotations

import socket
from time import perf_counter_ns

import httpx
import numpy as np
import pytest

from orchestrator.selftest.server import ReferenceServer, Schedule

SCHEDULE = Schedule(ttft_s=0.02, itl_s=0.01, tokens=5)


def ask(sock: socket.socket, name: str, path: str = "/v1/chat/completions") -> bytes:
    """The raw answer to one request."""
    sock.sendall(f"POST {path} HTTP/1.1\r\nX-Request-Id: {name}\r\nContent-Length: 2\r\n\r\n{{}}".encode())
    got = b""
    while not got.endswith(b"0\r\n\r\n"):
        got += sock.recv(1 << 16)
    return got


def test_tokens_come_on_schedule_and_are_logged() -> None:
    """The log has every token with the bounds of its write; nothing comes before its time."""
    with ReferenceServer(SCHEDULE) as server, socket.create_connection(("127.0.0.1", server.port)) as sock:
        before_ns = perf_counter_ns()
        answer = ask(sock, "one")
        after_ns = perf_counter_ns()
        log = server.take_log()

        assert {"one"} == set(log)
        assert {} == server.take_log()
    written = log["one"]
    due_ns = written.arrival_ns + np.array([20, 30, 40, 50, 60]) * 1_000_000
    late_ns = np.array(written.before_ns) - due_ns

    assert 5 == answer.count(b'"content":" token"')
    assert before_ns < written.arrival_ns < written.before_ns[0] <= written.after_ns[0]
    assert written.after_ns[-1] < after_ns
    assert 0 <= late_ns.min() <= late_ns.max() < 50e6


def test_requests_on_one_connection_are_answered_one_by_one() -> None:
    """It is kept alive, as engines do."""
    with ReferenceServer(SCHEDULE) as server, socket.create_connection(("127.0.0.1", server.port)) as sock:
        ask(sock, "one")
        ask(sock, "two")

        assert {"one", "two"} == set(server.take_log())


def test_peers_find_what_they_look_for() -> None:
    """The list of models, text on the completions route, an id where the client sends none."""
    with ReferenceServer(SCHEDULE) as server:
        models = httpx.get(f"{server.url}/v1/models").json()
        text = httpx.post(f"{server.url}/v1/completions", json={}).text
        log = server.take_log()

    assert "reference" == models["data"][0]["id"]
    assert 5 == text.count('"text":" token"')
    assert [5] == [len(written.before_ns) for written in log.values()]


@pytest.mark.parametrize("tokens", [0, 3])
def test_a_client_that_leaves_is_let_go(tokens: int) -> None:
    """What had been written until then is in the log; the server serves on."""
    with ReferenceServer(Schedule(ttft_s=0.01, itl_s=0.02, tokens=500)) as server:
        with socket.create_connection(("127.0.0.1", server.port)) as sock:
            sock.sendall(b"POST / HTTP/1.1\r\nX-Request-Id: gone\r\nContent-Length: 0\r\n\r\n")
            for _ in range(tokens + 1):
                sock.recv(1 << 16)
        with socket.create_connection(("127.0.0.1", server.port)) as sock:
            sock.sendall(b"GET /v1/models HTTP/1.1\r\n\r\n")

            assert b"reference" in sock.recv(1 << 16)
        log = server.take_log()

    assert (tokens > 0) is ("gone" in log)
