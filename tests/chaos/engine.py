"""An engine in a container of its own that misbehaves when it is told to: <bind> <port> <model folder>.

What it is told stands in the file `trouble` beside the weights, and is read at every request. Standard library
only, for an image of nothing but Python.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from http.server import ThreadingHTTPServer
from pathlib import Path

from tests.fakes.stream_program import Handler

TROUBLE = "trouble"
DEAF, SILENT, KILLED, QUITTER, GLUTTON, BUSY = "deaf", "silent", "killed", "quitter", "glutton", "busy"
FOR_EVER_S = 3600.0
BLOCK_BYTES = 16 * 2**20
TOKENS_BEFORE = 2


class Troubled(Handler):
    """Answers well, but for the trouble of the hour."""

    told = Path()

    @property
    def trouble(self) -> str:
        try:
            return self.told.read_text().strip()
        except OSError:
            return ""

    def do_GET(self) -> None:
        if self.trouble == DEAF:
            time.sleep(FOR_EVER_S)
        super().do_GET()

    def do_POST(self) -> None:
        trouble = self.trouble
        if trouble == BUSY:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(429)
            self.send_header("Retry-After", "1")
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif trouble in (SILENT, KILLED, QUITTER, GLUTTON):
            self.begin_answer(0 if trouble == QUITTER else TOKENS_BEFORE)
            TROUBLES[trouble]()
        else:
            super().do_POST()

    def begin_answer(self, tokens: int) -> None:
        """200, and the first tokens of an answer that will never end."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for _ in range(tokens):
            self.event({"choices": [{"index": 0, "delta": {"content": "word "}, "finish_reason": None}]})


def wait_for_ever() -> None:
    time.sleep(FOR_EVER_S)


def be_killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def quit_at_once() -> None:
    os._exit(3)


def eat_all_memory() -> None:
    """Until the kernel has had enough of it; on one thread, so that it is the one process that grows."""
    with ALONE:
        eaten = []
        while True:
            eaten.append(bytearray(b"x") * BLOCK_BYTES)


ALONE = threading.Lock()
TROUBLES = {SILENT: wait_for_ever, KILLED: be_killed, QUITTER: quit_at_once, GLUTTON: eat_all_memory}


if __name__ == "__main__":
    Troubled.told = Path(sys.argv[3], TROUBLE)
    ThreadingHTTPServer.daemon_threads = True
    ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), Troubled).serve_forever()
