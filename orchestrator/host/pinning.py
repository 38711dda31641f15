"""Keeping this process, and whatever it starts meanwhile, on CPUs of its own."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def pinned(cpus: Collection[int]) -> Iterator[None]:
    """Every thread of this process on these CPUs, and afterwards where it was before. Threads and processes
    that are started within begin there."""
    before = os.sched_getaffinity(0)
    _move(cpus)
    try:
        yield
    finally:
        _move(before)


def _move(cpus: Collection[int]) -> None:
    for task in Path("/proc/self/task").iterdir():
        with suppress(ProcessLookupError):  # a thread may end meanwhile
            os.sched_setaffinity(int(task.name), cpus)
