"""Exchanges and telemetry survive their files."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.domain.exchange import CountedBy, Exchange, Outcome
from orchestrator.domain.telemetry import Sample
from orchestrator.errors import RequestError
from orchestrator.store import tables
from tests.domain.made import exchange
from tests.domain.test_metrics_properties import exchanges

PAGE = (Path(__file__).parents[2] / "docs" / "results.md").read_text("utf-8")


def written(tmp_path: Path, some: list[Exchange]) -> list[Exchange]:
    path = tmp_path / "x.parquet"
    path.write_bytes(tables.exchanges_bytes(some))
    return tables.read_exchanges(path)


def plain(x: Exchange) -> dict[str, object]:
    lists = {name: getattr(x, name).tolist() for name in tables.LISTS}
    return {name: getattr(x, name) for name in tables.EXCHANGES.names} | lists


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(st.lists(exchanges(), max_size=6))
def test_exchanges_come_back_as_they_were(tmp_path: Path, some: list[Exchange]) -> None:
    """Every field, every event, the order; also of none at all."""
    assert [plain(x) for x in some] == [plain(x) for x in written(tmp_path, some)]


def test_types_come_back_too(tmp_path: Path) -> None:
    """An outcome is an enum again, events are 64-bit integers, a missing count stays missing."""
    odd = dataclasses.replace(
        exchange(1, (2, 3), outcome=Outcome.STALL),
        detail="naïve \u2028 text",
        status=200,
        connects=1,
        text_chars=7,
        event_tokens=np.array([1, 3], np.int32),
        counted_by=CountedBy.CUMULATIVE,
        expected_prompt_tokens=41,
        scheduled_ns=5,
        text_tokens=4,
        canary=2,
    )
    (back,) = written(tmp_path, [odd])

    assert (Outcome.STALL, None) == (back.outcome, back.completion_tokens)
    assert (np.dtype(np.int64), odd.detail) == (back.event_ns.dtype, back.detail)
    assert ([1, 3], np.dtype(np.int32)) == (back.event_tokens.tolist(), back.event_tokens.dtype)
    assert (CountedBy.CUMULATIVE, 41) == (back.counted_by, back.expected_prompt_tokens)
    assert ([], 4, 5) == (back.literal_tokens.tolist(), back.text_tokens, back.scheduled_ns)
    assert 2 == back.canary


def test_every_field_of_an_exchange_has_its_column() -> None:
    """A field that is added must be stored, but for the texts, which may be anybody's."""
    transient = {"text", "event_chars"}

    assert {f.name for f in dataclasses.fields(Exchange)} - transient == set(tables.EXCHANGES.names)


@pytest.mark.parametrize(
    ("heading", "schema"), [("exchanges.parquet", tables.EXCHANGES), ("telemetry.parquet", tables.TELEMETRY)]
)
def test_every_column_is_documented(heading: str, schema: pa.Schema) -> None:
    """docs/results.md lists them in order, with their types."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \|", section, re.MULTILINE)

    assert [(f.name, _type(f)) for f in schema] == rows


def test_samples_come_back_as_they_were(tmp_path: Path) -> None:
    """Values of one moment and source are one sample; one without values leaves nothing."""
    samples = [
        Sample(t_ns=1, source="gpu", values={"gpu0.power_w": 300.5, "gpu0.memory_bytes": 2.0}, took_ns=9),
        Sample(t_ns=1, source="engine", values={"engine.memory_bytes": 5.0}),
        Sample(t_ns=2, source="engine", values={"engine.memory_bytes": 6.0}),
    ]
    path = tmp_path / "t.parquet"
    path.write_bytes(tables.telemetry_bytes([*samples, Sample(t_ns=3, source="gpu", values={})]))

    assert samples == tables.read_samples(path)


def test_no_samples_are_a_table_without_rows(tmp_path: Path) -> None:
    """An empty file would be damaged, an empty table is not."""
    path = tmp_path / "t.parquet"
    path.write_bytes(tables.telemetry_bytes([]))

    assert [] == tables.read_samples(path)


@pytest.mark.parametrize("content", [None, b"", b"PAR1 no parquet"])
def test_an_unreadable_file_is_named(tmp_path: Path, content: bytes | None) -> None:
    """Missing, empty or garbage: one error, no pyarrow trace."""
    path = tmp_path / "x.parquet"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(RequestError, match=r"cannot read .*x\.parquet"):
        tables.read_exchanges(path)


def test_foreign_columns_are_refused(tmp_path: Path) -> None:
    """Another version's file is not guessed at."""
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"id": ["a"]}), path)

    with pytest.raises(RequestError, match="other columns"):
        tables.read_exchanges(path)


def _type(field: pa.Field) -> str:
    is_list = pa.types.is_list(field.type)
    kind = f"list<{field.type.value_type}>" if is_list else str(field.type).replace("double", "float64")
    return f"{kind}, may be null" if field.nullable else kind
