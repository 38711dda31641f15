"""Folders for a while, whose names say whose they are: what a killed process left can be told, and removed.

The names are short: engines put sockets below them, whose paths may have 107 characters.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from pathlib import Path
from shutil import rmtree

from orchestrator.host import locks
from orchestrator.host.locks import Identity

_NAME = re.compile(
    r"levelbench-[a-z]+-(?P<pid>\d+)-(?P<start>\d+)-(?P<boot>[0-9a-f]{4})(?P<space>[0-9a-f]{4})-\w+"
)


def owned_prefix(what: str) -> str:
    """How the name of a folder of this process begins, for `tempfile`."""
    me = locks.identity(os.getpid())
    return f"levelbench-{what}-{me.pid}-{me.start_ticks}-{_short(me.boot_id)}{_short(_space())}-"


def sweep(parent: Path | None = None, *, dry_run: bool = False) -> tuple[str, ...]:
    """Remove those whose owner provably runs no more, as far as they are this user's; their paths."""
    found = (parent or Path(tempfile.gettempdir())).glob("levelbench-*-*")
    dead = [path for path in found if _is_ours(path) and _is_dead(path.name)]
    for path in () if dry_run else dead:
        rmtree(path, ignore_errors=True)
    return tuple(sorted(str(path) for path in dead))


def _is_ours(path: Path) -> bool:
    try:
        return path.is_dir() and not path.is_symlink() and path.stat().st_uid == os.getuid()
    except OSError:
        return False


def _is_dead(name: str) -> bool:
    """A name that says less proves nothing, nor does a process number of another namespace on this boot."""
    told = _NAME.fullmatch(name)
    if told is None:
        return False
    boot_id = locks.identity(os.getpid()).boot_id
    if not boot_id:
        return False
    if _short(boot_id) != told["boot"]:
        return True
    if _short(_space()) != told["space"]:
        return False
    return not Identity(int(told["pid"]), int(told["start"]), boot_id).alive


def _space() -> str:
    """The number of this process's namespace of process numbers: another container has another."""
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:4]
