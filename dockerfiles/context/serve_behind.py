"""Starts an engine and a service before it, and lives as long as both do.

    serve_behind.py SERVICE... -- ENGINE...

Whichever ends first ends the other, and its exit code is ours: a service whose engine is dead must not look
alive. On SIGTERM the service goes first, so that the engine is not asked any more.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from types import FrameType

USAGE = "usage: serve_behind.py SERVICE... -- ENGINE..."
POLL_S = 0.2
STOP_S = 3.0


def main(words: list[str]) -> int:
    if "--" not in words[1:-1]:
        sys.exit(USAGE)
    cut = words.index("--")
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)
    children: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for name, argv in (("engine", words[cut + 1 :]), ("service", words[:cut])):
            children[name] = _started(name, argv)
        return _first_end(children)
    finally:
        for name in ("service", "engine"):
            if name in children:
                _end(children[name])


def _stop(number: int, _frame: FrameType | None) -> None:
    """Once: a second signal must not cut the ending short."""
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, signal.SIG_IGN)
    sys.exit(128 + number)


def _started(name: str, argv: list[str]) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(argv)  # noqa: S603 - these words are what we are for
    except OSError as error:
        sys.exit(f"serve_behind.py: cannot run the {name} {argv[0]}: {error.strerror}")


def _first_end(children: dict[str, subprocess.Popen[bytes]]) -> int:
    while True:
        for name, child in children.items():
            code = child.poll()
            if code is not None:
                code = code if code >= 0 else 128 - code
                print(f"levelbench: the {name} ended with {code}", flush=True)
                return code or os.EX_SOFTWARE  # neither is meant to end by itself
        time.sleep(POLL_S)


def _end(child: subprocess.Popen[bytes]) -> None:
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(STOP_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
