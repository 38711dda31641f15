"""One cell's folder: begun, then saved whole, then recognisable as complete, unfinished or damaged."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from orchestrator.domain.cell import Cell
from orchestrator.domain.exchange import Exchange
from orchestrator.domain.result import Result
from orchestrator.domain.telemetry import Sample
from orchestrator.errors import RequestError
from orchestrator.report.records import State, Stored
from orchestrator.report.trace import EMPTY, Trace, trace
from orchestrator.store import files, tables

CELL = "cell.json"
DOCKERFILE = "Dockerfile"
ARGV = "argv.json"
EXCHANGES = "exchanges.parquet"
TELEMETRY = "telemetry.parquet"
LOG = "engine.log"
PROVENANCE = "provenance.json"
RESULT = "result.json"


@dataclass(frozen=True, slots=True)
class CellFolder:
    """`cells/<cell>/` of a run."""

    path: Path

    def begin(self, cell: Cell) -> None:
        """Say that the cell is being measured. What an earlier, unfinished attempt left is removed."""
        if self.stored().state is State.COMPLETE:
            raise self._finished()
        with files.translated(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            for name in (RESULT, *(p.name for p in self.path.iterdir() if p.is_file())):
                (self.path / name).unlink(missing_ok=True)
            files.sync_folder(self.path.parent)
        files.write_atomically(self.path / CELL, _json(cell.model_dump(mode="json")))

    def save(
        self,
        result: Result,
        *,
        exchanges: Sequence[Exchange] | None = None,
        samples: Sequence[Sample] | None = None,
        dockerfile: str | None = None,
        engine_log: Path | None = None,
    ) -> None:
        """Write all files of an ended cell, and last result.json, which names and seals the others.

        `engine_log` is copied as it is now: the deployment's log goes on while later cells run.
        """
        if (self.path / RESULT).exists():
            raise self._finished()
        if not (self.path / CELL).exists():
            self.begin(result.cell)
        for name, data in self._contents(result, exchanges, samples, dockerfile).items():
            files.write_atomically(self.path / name, data)
        if engine_log is not None and engine_log.exists():
            files.copy_atomically(engine_log, self.path / LOG)
        files.write_atomically(self.path / RESULT, _json(self._envelope(result)))

    def seal(self, result: Result) -> None:
        """Write result.json over files that lie here already: of a copy whose files are not as they were written."""
        files.write_atomically(self.path / RESULT, _json(self._envelope(result)))

    def stored(self) -> Stored:
        """What lies here. Only a sealed result whose files are all as they were written is complete."""
        cell = self._cell()
        if not (self.path / RESULT).exists():
            reason = "measuring began but did not end" if cell else "not begun"
            return Stored(self.path.name, State.UNFINISHED, cell=cell, reason=reason)
        try:
            result = self._opened()
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            return Stored(self.path.name, State.DAMAGED, cell=cell, reason=_reason(error))
        return Stored(self.path.name, State.COMPLETE, result=result, cell=result.cell)

    def trace(self, result: Result) -> Trace:
        """What the charts of a measured cell show. Raw records that this version cannot read cost the charts,
        not the report."""
        if result.metrics is None:
            return EMPTY
        try:
            exchanges = tables.read_exchanges(self.path / EXCHANGES)
            samples = tables.read_samples(self.path / TELEMETRY)
        except RequestError:
            return EMPTY
        return trace(exchanges, samples, result.metrics, result.span)

    def _contents(
        self,
        result: Result,
        exchanges: Sequence[Exchange] | None,
        samples: Sequence[Sample] | None,
        dockerfile: str | None,
    ) -> dict[str, bytes]:
        contents = {}
        if dockerfile is not None:
            contents[DOCKERFILE] = dockerfile.encode()
        if result.provenance is not None:
            launch = {"argv": result.provenance.argv, "env": result.provenance.env}
            contents[ARGV] = _json(launch)
            contents[PROVENANCE] = _json(result.provenance.model_dump(mode="json"))
        if exchanges is not None:
            contents[EXCHANGES] = tables.exchanges_bytes(exchanges)
        if samples is not None:
            contents[TELEMETRY] = tables.telemetry_bytes(samples)
        return contents

    def _envelope(self, result: Result) -> dict[str, Any]:
        body = result.model_dump(mode="json")
        names = sorted(p.name for p in self.path.iterdir() if _is_ours(p))
        with files.translated(self.path):
            digests = {name: files.sha256(self.path / name) for name in names}
        return {"files": digests, "result_sha256": _digest(body), "result": body}

    def _opened(self) -> Result:
        envelope = json.loads((self.path / RESULT).read_bytes())
        if _digest(envelope["result"]) != envelope["result_sha256"]:
            raise ValueError(f"{RESULT} was altered after it was written")
        for name, digest in envelope["files"].items():
            if not (self.path / name).exists():
                raise ValueError(f"{name} is missing")
            if files.sha256(self.path / name) != digest:
                raise ValueError(f"{name} was altered after it was written")
        return Result.model_validate(envelope["result"])

    def _finished(self) -> RequestError:
        return RequestError(f"{self.path} holds a finished cell", hint="measure it again in a new run")

    def _cell(self) -> Cell | None:
        try:
            return Cell.model_validate_json((self.path / CELL).read_bytes())
        except (OSError, ValueError):
            return None


def _is_ours(path: Path) -> bool:
    return path.is_file() and not path.name.startswith(".") and path.name != RESULT


def _digest(body: Any) -> str:
    """Of the canonical text, so that reading and writing JSON again changes nothing."""
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _json(value: Any) -> bytes:
    return json.dumps(value, indent=2, ensure_ascii=False).encode() + b"\n"


def _reason(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return f"{RESULT} is not a result that this version can read ({error.error_count()} faults)"
    if isinstance(error, json.JSONDecodeError | UnicodeDecodeError):
        return f"{RESULT} is not JSON"
    if isinstance(error, KeyError | TypeError | AttributeError):
        return f"{RESULT} lacks its seal"
    return str(error)
