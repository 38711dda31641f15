"""Somebody is told, by a real receiver; what is secret stays so, and nothing that goes wrong touches the run."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from time import sleep
from typing import Any

import pytest

from orchestrator import notify, retrospect
from orchestrator.notify import ATTEMPTS, MAX_WAIT_S, Told, host, post, tell
from orchestrator.report.records import RunRecord
from orchestrator.report.summary import Summary, summarise
from orchestrator.store.runs import RunFolder
from tests.report import made
from tests.test_bench import ROOT, until

SECRET = "T0/B0/s3cr3t-planted"  # noqa: S105 - planted, to be looked for
SUMMARY = summarise(made.run())


@dataclass
class Receiver:
    """A webhook: answers in turn, the last one for ever, and keeps what it got."""

    answers: Sequence[tuple[int, dict[str, str]]] = ((200, {}),)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    port: int = 0

    @property
    def address(self) -> str:
        return f"http://u:{SECRET[-6:]}@127.0.0.1:{self.port}/{SECRET}?key={SECRET}"

    @contextmanager
    def running(self) -> Iterator[Receiver]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                receiver.bodies.append(json.loads(self.rfile.read(length)))
                receiver.paths.append(self.path)
                status, headers = receiver.answers[min(len(receiver.bodies), len(receiver.answers)) - 1]
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Nothing."""

        server = HTTPServer(("127.0.0.1", 0), Handler)
        self.port = server.server_port
        thread = Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


def told(receiver: Receiver) -> tuple[list[str], list[float]]:
    """What was said, and how long was waited between attempts."""
    said: list[str] = []
    slept: list[float] = []
    tell(SUMMARY, Told(webhook=receiver.address), said.append, sleep=slept.append)
    return said, slept


def test_the_webhook_gets_the_run() -> None:
    """Once, as JSON, with a text for Slack."""
    with Receiver().running() as receiver:
        said, slept = told(receiver)
    (body,) = receiver.bodies

    assert [f"/{SECRET}?key={SECRET}"] == receiver.paths
    assert body["text"].startswith("*levelbench 20261123-043000-llama-cpp-vllm-small*: needs a look")
    assert 6 == len(body["levelbench"]["cells"])
    assert (["the webhook at http://127.0.0.1 was told"], []) == (said, slept)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_receiver_that_is_busy_is_asked_again(status: int) -> None:
    """Three times, with growing waits; then it is said, and that is all."""
    with Receiver([(status, {})]).running() as receiver:
        said, slept = told(receiver)

    assert ATTEMPTS == len(receiver.bodies)
    assert [f"the webhook was not told: http://127.0.0.1 answered {status} (3 attempts)"] == said
    assert slept == sorted(slept)
    assert all(0 < seconds <= MAX_WAIT_S for seconds in slept)


def test_a_second_attempt_may_succeed() -> None:
    """After as long as the receiver asked for."""
    with Receiver([(429, {"Retry-After": "7"}), (200, {})]).running() as receiver:
        said, slept = told(receiver)

    assert (["the webhook at http://127.0.0.1 was told"], [7.0]) == (said, slept)


def test_nobody_is_waited_for_an_hour() -> None:
    """Whatever the receiver asks for, also a date."""
    for asked in ("3600", "Fri, 27 Nov 2026 02:00:00 GMT", "-5", "nan"):
        with Receiver([(503, {"Retry-After": asked}), (200, {})]).running() as receiver:
            _, slept = told(receiver)
        assert 0 < slept[0] <= MAX_WAIT_S


@pytest.mark.parametrize(
    "answer", [(400, {}), (403, {}), (404, {}), (302, {"Location": "http://127.0.0.1:9/x"})]
)
def test_a_refusal_is_final(answer: tuple[int, dict[str, str]]) -> None:
    """And a redirection is not followed: the secret goes to whom it was meant for."""
    with Receiver([answer]).running() as receiver:
        said, _ = told(receiver)

    assert 1 == len(receiver.bodies)
    assert [f"the webhook was not told: http://127.0.0.1 answered {answer[0]}"] == said


@pytest.mark.parametrize(
    "address",
    [
        f"http://127.0.0.1:9/{SECRET}",
        f"https://no.such.host.invalid/{SECRET}",
        f"hooks.example.com/{SECRET}",
        f"http://[::{SECRET}",
        f"ftp://example.com/{SECRET}",
        SECRET,
    ],
)
def test_an_address_that_leads_nowhere_is_said_without_it(address: str) -> None:
    """No exception, and nothing of the address but its host."""
    fault = post(address, {}, sleep=lambda _: None)

    assert fault
    assert not any(part in fault for part in SECRET.split("/"))
    assert SECRET not in host(address)
    assert SECRET not in repr(Told(webhook=address))


def test_somebody_may_want_to_hear_of_trouble_alone() -> None:
    """A night that went well is quiet then."""
    well = summarise(RunRecord("r", "2026-11-23T04:30:00+00:00", {}, made.run().cells[:1]))
    with Receiver().running() as receiver:
        for summary in (well, SUMMARY):
            tell(summary, Told(webhook=receiver.address, only_trouble=True), lambda _: None)

    assert [SUMMARY.run] == [body["levelbench"]["run"] for body in receiver.bodies]


def test_a_jobs_page_is_added_to(tmp_path: Path) -> None:
    """Earlier steps of the job have written there too."""
    page = tmp_path / "summary.md"
    page.write_text("before\n")
    tell(SUMMARY, Told(step_summary=page), lambda _: None)

    assert page.read_text().startswith(
        "before\n## levelbench 20261123-043000-llama-cpp-vllm-small: needs a look"
    )


def test_a_page_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    """The webhook is told all the same."""
    said: list[str] = []
    with Receiver().running() as receiver:
        tell(SUMMARY, Told(receiver.address, step_summary=tmp_path / "none" / "x"), said.append)

    assert [
        "the job's summary could not be written: No such file or directory",
        "the webhook at http://127.0.0.1 was told",
    ] == said


def test_a_page_stays_within_what_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """GitHub drops one that is too large, and a character is not cut in two."""
    monkeypatch.setattr(notify, "STEP_SUMMARY_BYTES", 100)
    long = Summary("x" + "\u00e9" * 200, "now", ())  # two bytes each, behind an odd number of them
    tell(long, Told(step_summary=tmp_path / "page"), lambda _: None)

    assert 90 < len((tmp_path / "page").read_bytes()) <= 101
    assert (tmp_path / "page").read_text()


def test_a_run_tells_once_it_is_over(tmp_path: Path) -> None:
    """Held against the runs beside it; nothing of the address is left in any file."""
    result = made.result(made.cell(users=1), made.load(1, ttft_s=0.05, gap_s=0.01, tokens=40))
    folder = RunFolder.create(tmp_path, "20261101-a", {}, cells=[result.cell])
    folder.cell(result.cell.id).save(result)
    with Receiver().running() as receiver:
        retrospect.tell(folder, Told(receiver.address), lambda _: None)
    left = [path for path in tmp_path.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]

    assert ["not-enough"] == [s["verdict"] for s in receiver.bodies[0]["levelbench"]["history"]]
    assert [] == left


def test_a_run_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    """The run itself has ended long since."""
    said: list[str] = []
    folder = RunFolder.create(tmp_path, "20261101-a", {})
    (folder.path / "run.json").write_text("{")
    retrospect.tell(folder, Told(step_summary=tmp_path / "page"), said.append)

    assert ["nobody was told"] == [line.split(":")[0] for line in said]


def test_an_index_that_cannot_be_used_costs_the_history_alone(tmp_path: Path) -> None:
    """The cells are told."""
    folder = RunFolder.create(tmp_path, "20261101-a", {}, cells=[made.cell(users=1)])
    (tmp_path / "history.sqlite").mkdir()
    said: list[str] = []
    retrospect.tell(folder, Told(step_summary=tmp_path / "page"), said.append)

    assert ["no history"] == [line.split(":")[0] for line in said]
    assert "1 unfinished" in (tmp_path / "page").read_text()


def test_a_run_that_is_stopped_is_told_too(tmp_path: Path) -> None:
    """By a real process with the address in its environment: after the teardown, and nothing of the address is in
    what it printed or in its files."""
    with Receiver().running() as receiver:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "LEVELBENCH_WEBHOOK": receiver.address}
        with subprocess.Popen(
            [sys.executable, "-m", "tests.fakes.bench_program", str(tmp_path), "0.0"],
            cwd=ROOT,
            env=environment | {"GITHUB_STEP_SUMMARY": str(tmp_path / "page.md")},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        ) as process:
            try:
                before = until(process, "measure u2 ...")
                process.terminate()
                output = before + process.communicate(timeout=110)[0]
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    (body,) = receiver.bodies

    assert 130 == process.returncode, output
    assert output.index("fake down ended") < output.index("the webhook at http://127.0.0.1 was told")
    assert ["unfinished"] == [cell["outcome"] for cell in body["levelbench"]["cells"]]
    assert "1 unfinished" in (tmp_path / "page.md").read_text()
    assert SECRET not in output
    assert [] == [path for path in files if SECRET.encode() in path.read_bytes()]


def test_an_answer_without_end_is_not_read() -> None:
    """The status is all that matters, and a receiver that never ends its answer must not hold the night up."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = Thread(target=_answer_for_ever, args=(server,), daemon=True)
        thread.start()
        fault = post(f"http://127.0.0.1:{server.getsockname()[1]}/{SECRET}", {}, sleep=lambda _: None)
        thread.join(100)

    assert fault is None
    assert not thread.is_alive()


def _answer_for_ever(server: socket.socket) -> None:
    connection, _ = server.accept()
    with connection, suppress(OSError):
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            connection.sendall(b"1\r\nx\r\n")
            sleep(0.05)
