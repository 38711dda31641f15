"""Exchanges and telemetry as Parquet: to bytes, and back from a file. Columns: docs/results.md."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import Enum
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.domain.exchange import CountedBy, Exchange, Outcome
from orchestrator.domain.telemetry import Sample
from orchestrator.errors import RequestError

EXCHANGES = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("user", pa.int32(), nullable=False),
        pa.field("prompt", pa.int32(), nullable=False),
        pa.field("send_ns", pa.int64(), nullable=False),
        pa.field("end_ns", pa.int64(), nullable=False),
        pa.field("outcome", pa.string(), nullable=False),
        pa.field("headers_ns", pa.int64(), nullable=False),
        pa.field("first_event_ns", pa.int64(), nullable=False),
        pa.field("first_token_ns", pa.int64(), nullable=False),
        pa.field("first_visible_ns", pa.int64(), nullable=False),
        pa.field("event_ns", pa.list_(pa.field("element", pa.int64(), nullable=False)), nullable=False),
        pa.field("event_tokens", pa.list_(pa.field("element", pa.int32(), nullable=False)), nullable=False),
        pa.field("status", pa.int32(), nullable=False),
        pa.field("detail", pa.string(), nullable=False),
        pa.field("finish_reason", pa.string(), nullable=False),
        pa.field("prompt_tokens", pa.int64()),
        pa.field("completion_tokens", pa.int64()),
        pa.field("counted_by", pa.string(), nullable=False),
        pa.field("expected_prompt_tokens", pa.int64()),
        pa.field("text_chars", pa.int64(), nullable=False),
        pa.field("connects", pa.int32(), nullable=False),
        pa.field("reads", pa.int32(), nullable=False),
        pa.field("stamped", pa.int32(), nullable=False),
        pa.field("coalesced", pa.int32(), nullable=False),
        pa.field("lag_max_ns", pa.int64(), nullable=False),
        pa.field("event_lag_ns", pa.list_(pa.field("element", pa.int64(), nullable=False)), nullable=False),
        pa.field("scheduled_ns", pa.int64(), nullable=False),
        pa.field("literal_tokens", pa.list_(pa.field("element", pa.int32(), nullable=False)), nullable=False),
        pa.field("text_tokens", pa.int64()),
        pa.field("canary", pa.int32()),
    ]
)

LISTS: dict[str, type[np.integer[Any]]] = {
    "event_ns": np.int64,
    "event_tokens": np.int32,
    "event_lag_ns": np.int64,
    "literal_tokens": np.int32,
}

TELEMETRY = pa.schema(
    [
        pa.field("t_ns", pa.int64(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("name", pa.string(), nullable=False),
        pa.field("value", pa.float64(), nullable=False),
        pa.field("took_ns", pa.int64(), nullable=False),
    ]
)


def exchanges_bytes(exchanges: Sequence[Exchange]) -> bytes:
    """One row per exchange, in the order given."""
    columns = [_column(exchanges, field) for field in EXCHANGES]
    return _parquet(pa.Table.from_arrays(columns, schema=EXCHANGES))


def telemetry_bytes(samples: Sequence[Sample]) -> bytes:
    """One row per value. A sample without values leaves no row."""
    rows = [(s.t_ns, s.source, n, v, s.took_ns) for s in samples for n, v in s.values.items()]
    columns = list(zip(*rows, strict=True)) or [()] * len(TELEMETRY)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, TELEMETRY, strict=True)]
    return _parquet(pa.Table.from_arrays(arrays, schema=TELEMETRY))


def read_exchanges(path: Path) -> list[Exchange]:
    """The exchanges of a cell, in the order in which they were written."""
    table = _read(path, EXCHANGES)
    lists = {name: _lists(table.column(name).combine_chunks()) for name in LISTS}
    rows = table.drop_columns(list(LISTS)).to_pylist()
    return [_exchange(row, {name: next(lists[name]) for name in LISTS}) for row in rows]


def read_samples(path: Path) -> list[Sample]:
    """The samples of a cell; neighbouring rows of one source and moment are one sample."""
    rows = _read(path, TELEMETRY).to_pylist()
    groups = groupby(rows, key=lambda row: (row["t_ns"], row["source"], row["took_ns"]))
    return [
        Sample(t_ns=t_ns, source=source, values={r["name"]: r["value"] for r in values}, took_ns=took_ns)
        for (t_ns, source, took_ns), values in groups
    ]


def _exchange(row: dict[str, Any], lists: dict[str, Any]) -> Exchange:
    enums = {"outcome": Outcome(row["outcome"]), "counted_by": CountedBy(row["counted_by"])}
    return Exchange(**{**row, **enums, **lists})


def _column(exchanges: Sequence[Exchange], field: Any) -> Any:
    values = [getattr(x, field.name) for x in exchanges]
    if field.name in LISTS:
        return _list_column(values, field.type, LISTS[field.name])
    return pa.array([v.value if isinstance(v, Enum) else v for v in values], field.type)


def _list_column(lists: Sequence[Any], kind: Any, element: type[np.integer[Any]]) -> Any:
    """All events at once: converting a list per exchange takes a hundred times as long."""
    ends = np.cumsum([0, *map(len, lists)], dtype=np.int32)
    values = np.concatenate([np.empty(0, element), *lists]).astype(element)
    return pa.ListArray.from_arrays(pa.array(ends), pa.array(values), type=kind)


def _lists(column: Any) -> Iterator[np.ndarray[Any, np.dtype[Any]]]:
    values = column.values.to_numpy()
    return (values[begin:end] for begin, end in pairwise(column.offsets.to_numpy()))


def _parquet(table: Any) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return bytes(sink.getvalue())


def _read(path: Path, schema: Any) -> Any:
    try:
        table = pq.ParquetFile(path).read()
    except (pa.ArrowException, OSError) as error:
        raise RequestError(f"cannot read {path}: {error}", hint="the file is missing or damaged") from error
    if table.schema != schema:
        raise RequestError(
            f"{path} has other columns than this version of levelbench writes",
            hint="read it with the version that is named in its provenance.json",
        )
    return table
