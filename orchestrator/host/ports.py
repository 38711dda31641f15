"""Whether a port can be listened on, and if not, who has it."""

from __future__ import annotations

import errno
import socket

import psutil

from orchestrator.host.findings import Check, Finding, Level

LOOPBACK = "127.0.0.1"


def port(number: int, address: str = LOOPBACK) -> Finding:
    """0 stands for any free port and is always fine."""
    try:
        _bind(number, address)
    except OverflowError:
        text = f"{number} is no port"
        return Finding(Check.PORT, Level.FAIL, text, "choose one from 1024 to 65535")
    except OSError as error:
        return _refused(number, error)
    return Finding(Check.PORT, Level.OK, f"{number} is free" if number else "any free one will do")


def _bind(number: int, address: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        # As servers do: connections of the past that are still closing (TIME_WAIT) do not count.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, number))


def _refused(number: int, error: OSError) -> Finding:
    if error.errno == errno.EADDRINUSE:
        step = "end it, or choose another port (0 takes any free one)"
        return Finding(Check.PORT, Level.FAIL, f"{number} is taken by {_holder(number)}", step)
    text = f"{number} cannot be listened on: {error.strerror}"
    return Finding(Check.PORT, Level.FAIL, text, "choose a port above 1023 (0 takes any free one)")


def _holder(number: int) -> str:
    """The listening process, where this user may see it; Docker's proxy stands for a container."""
    pid = _listeners().get(number)
    if pid is None:
        return "a process that this user may not see"
    try:
        return f"process {pid} ({psutil.Process(pid).name()})"
    except psutil.Error:
        return f"process {pid}"


def _listeners() -> dict[int, int]:
    """Ports that are listened on, and by which process, as far as this user may see it."""
    try:
        connections = psutil.net_connections(kind="tcp")
    except psutil.Error:
        return {}
    return {c.laddr.port: c.pid for c in connections if c.laddr and c.pid and c.status == psutil.CONN_LISTEN}
