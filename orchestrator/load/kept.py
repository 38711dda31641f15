"""Exchanges that have ended, on disk until their load is over: no memory grows with its length."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from orchestrator.domain.exchange import Exchange
from orchestrator.store.files import translated


class Kept:
    """A file of our own in a folder of our own. HostError where it cannot be written."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with translated(path):
            self._file = path.open("w+b")

    def add(self, exchanges: Sequence[Exchange]) -> None:
        with translated(self._path):
            pickle.dump(exchanges, self._file, pickle.HIGHEST_PROTOCOL)
            self._file.flush()

    def all(self) -> list[Exchange]:
        """In the order in which they were added."""
        found: list[Exchange] = []
        with translated(self._path):
            end = self._file.tell()
            self._file.seek(0)
            while self._file.tell() < end:
                found += pickle.load(self._file)  # noqa: S301 - our own
        return found

    def close(self) -> None:
        with suppress(OSError):  # what could not be written has been told
            self._file.close()
        self._path.unlink()
