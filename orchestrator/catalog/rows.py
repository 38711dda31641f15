"""Prompts from a file of a data set: JSON lines, a JSON list, or Parquet."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.catalog import lines
from orchestrator.domain.prompt import Prompt
from orchestrator.errors import RequestError

PARQUET = ".parquet"
BATCH_ROWS = 1024
HINT = "a file of a data set is .jsonl, .json or .parquet; see docs/prompts.md"
USUAL = ("messages", "conversations", "prompt", "text", "instruction", "context", "question")


def prompts(path: Path, name: str, column: str | None, most: int) -> tuple[Prompt, ...]:
    """The prompts of the first `most` rows; rows that hold no text are passed over. A mistake is a RequestError
    that names file and row."""
    found = (_prompt(row, place, column) for place, row in islice(_rows(path, name, column), most))
    return tuple(prompt for prompt in found if prompt is not None)


def _prompt(row: dict[str, Any], place: str, column: str | None) -> Prompt | None:
    """By its column, else by the first of the usual ones that it has."""
    column = column or next((usual for usual in USUAL if row.get(usual)), None)
    if column is None:
        return None
    if not row.get(column) and column in row:
        return None
    if column in ("instruction", "context"):
        return lines.prompt(row, place)
    return lines.prompt(row, place, column)


def _rows(path: Path, name: str, column: str | None) -> Iterator[tuple[str, dict[str, Any]]]:
    if path.suffix == PARQUET:
        return _of_parquet(path, name, column)
    content = path.read_bytes()
    if content.lstrip()[:1] == b"[":
        return _of_list(content, name)
    return lines.objects(content, name)


def _of_list(content: bytes, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise lines.fault(name, f"not JSON: {error}", HINT) from error
    for number, row in enumerate(found, start=1):
        if not isinstance(row, dict):
            raise lines.fault(f"{name}, row {number}", "not an object", HINT)
        yield f"{name}, row {number}", row


def _of_parquet(path: Path, name: str, column: str | None) -> Iterator[tuple[str, dict[str, Any]]]:
    """In batches, of the columns that matter: a file may be larger than memory."""
    try:
        file = pq.ParquetFile(path)
        known = file.schema_arrow.names
        wanted = [c for c in known if c in ((column,) if column else USUAL)]
        if not wanted:
            asked = f"no column {column!r}" if column else f"none of the columns {', '.join(USUAL)}"
            raise RequestError(f"{name} has {asked}", hint=f"it has {', '.join(known)}: name one")
        number = 0
        for batch in file.iter_batches(BATCH_ROWS, columns=wanted):
            for row in batch.to_pylist():
                number += 1
                yield f"{name}, row {number}", row
    except pa.ArrowException as error:
        raise RequestError(f"{name} cannot be read as Parquet: {error}", hint=HINT) from error
