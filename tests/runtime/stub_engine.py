"""A program that behaves like an engine: serves HTTP, or misbehaves as its first argument says.

It needs the standard library only and is copied into a deployment's weights folder, so that it runs in a
bare container as well as in a bare venv.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

SLEEPER = "import time; time.sleep(600)"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = json.dumps(
            {"/env": self.env, "/burn": self.burn, "/cpus": self.cpus, "/eat": self.eat}.get(
                self.path, self.ok
            )()
        ).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def env(self) -> dict[str, str]:
        return dict(os.environ)

    def burn(self) -> str:
        until_s = time.process_time() + 0.2
        while time.process_time() < until_s:
            pass
        return "burnt"

    def eat(self) -> str:
        """More memory than it is allowed."""
        return str(len(b"x" * (1 << 30)))

    def cpus(self) -> list[int]:
        return sorted(os.sched_getaffinity(0))

    def ok(self) -> str:
        return "ok"

    def log_message(self, *arguments: object) -> None:
        """Requests are not worth a line."""


def main(mode: str, bind: str, port: int) -> None:
    say("stub engine starts")
    if mode == "exit":
        say("stub engine cannot go on")
        sys.exit(3)
    if mode == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    else:
        signal.signal(signal.SIGTERM, leave)
    if mode == "parent":
        leave_children()
    ThreadingHTTPServer((bind, port), Handler).serve_forever()


def say(text: str) -> None:
    os.write(1, f"{text}\n".encode())


def leave(*_: object) -> None:
    say("stub engine's last words")
    os._exit(0)


def leave_children() -> None:
    """One in a session of its own, one that forgets its environment, one that does both; their numbers
    go to a file in the home folder, which the runtime made."""
    argv = (sys.executable, "-c", SLEEPER)
    children = [
        subprocess.Popen(argv, start_new_session=True),
        subprocess.Popen(argv, env={}),
        subprocess.Popen(argv, env={}, start_new_session=True),
    ]
    (Path(os.environ["HOME"]) / "children").write_text(" ".join(str(c.pid) for c in children))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
