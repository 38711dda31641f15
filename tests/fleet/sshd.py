"""A real sshd on the loopback, whose sessions live in a home of their own, and a client that knows it as `gpubox`."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SSHD = "/usr/sbin/sshd"
NAME = "gpubox"


def missing() -> list[str]:
    return [name for name in ("ssh", "ssh-keygen", "rsync", SSHD) if shutil.which(name) is None]


@contextmanager
def sshd(folder: Path, **env: str) -> Iterator[Path]:
    """Its sessions have `env`. Gives the home folder of the other side. `ssh gpubox` works while it lasts, by a PATH of our own: OpenSSH does
    not look into $HOME for its configuration."""
    home, port = folder / "home", _free_port()
    for path in (home, folder / "bin"):
        path.mkdir(parents=True)
    for key in ("host", "user"):
        subprocess.run(("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / key), check=True)
    shutil.copy(folder / "user.pub", folder / "authorized")
    (folder / "authorized").chmod(0o600)
    (folder / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/authorized\n"
        f"PidFile {folder}/pid\nUsePAM no\nStrictModes no\nPermitRootLogin prohibit-password\nSetEnv HOME={home} {' '.join(f'{name}={value}' for name, value in env.items())}\n"
    )
    public = (folder / "host.pub").read_text().split()
    (folder / "known").write_text(f"[127.0.0.1]:{port} {public[0]} {public[1]}\n")
    (folder / "config").write_text(
        f"Host {NAME}\n  HostName 127.0.0.1\n  Port {port}\n  User {getpass.getuser()}\n"
        f"  IdentityFile {folder}/user\n  IdentitiesOnly yes\n  UserKnownHostsFile {folder}/known\n"
    )
    ssh = folder / "bin" / "ssh"
    ssh.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {folder}/config "$@"\n')
    ssh.chmod(0o755)
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen((SSHD, "-D", "-e", "-f", folder / "sshd_config"), stderr=log)
    before = os.environ["PATH"]
    os.environ["PATH"] = f"{folder / 'bin'}:{before}"
    try:
        _wait_for(port, folder / "log")
        yield home
    finally:
        os.environ["PATH"] = before
        server.terminate()
        server.wait(10)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(port: int, log: Path) -> None:
    until = time.monotonic() + 20
    while time.monotonic() < until:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError(f"sshd did not come up: {log.read_text()}")
