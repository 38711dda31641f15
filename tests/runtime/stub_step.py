"""A program that behaves like a step's tool, or misbehaves as its second argument says.

Standard library only, for the same reason as the stub engine.
"""

from __future__ import annotations

import json
import os
import resource
import socket
import subprocess
import sys
import time
from pathlib import Path

SLEEPER = "import time; time.sleep(600)"


def main(out: Path, mode: str, *words: str) -> None:
    say("stub step starts")
    if mode == "fail":
        say("no room for the engine")
        sys.exit(3)
    if mode == "hang":
        subprocess.Popen((sys.executable, "-c", SLEEPER), env={}, start_new_session=True)
        (out / "half.bin").write_bytes(b"half")
        say("stub step hangs")
        time.sleep(600)
    if mode == "nothing":
        return
    if mode == "fill":
        with (out / "big.bin").open("wb") as file:
            while True:
                file.write(bytes(2**20))
    if mode == "hoard":
        hoard = [bytearray(os.urandom(2**20)) for _ in range(int(words[0]))]
        time.sleep(1.0)
        say(f"{len(hoard)} MiB held")
        words = ()
    inner = out / "inner"
    inner.mkdir(mode=0o700)
    (inner / "told.json").write_text(json.dumps(told(words)))
    (out / "engine.bin").write_bytes(b"engine")
    (out / "engine.bin").chmod(0o600)
    sys.stdout.write("10 %\r100 %")


def told(words: tuple[str, ...]) -> dict[str, object]:
    """What it finds where it runs."""
    found: dict[str, object] = {
        "env": dict(os.environ),
        "uid": os.getuid(),
        "nofile": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        "texts": [Path(word).read_text() for word in words],
        "writable": [word for word in words if writable(Path(word).parent)],
        "network": reaches("1.1.1.1"),
    }
    return found


def writable(folder: Path) -> bool:
    try:
        (folder / "mark").touch()
    except OSError:
        return False
    return True


def reaches(host: str) -> bool:
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((host, 53))
    except OSError:
        return False
    return True


def say(text: str) -> None:
    os.write(1, f"{text}\n".encode())


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
