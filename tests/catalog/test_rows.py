"""Prompts from the files that data sets consist of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.catalog import rows
from orchestrator.errors import RequestError

ROWS: list[dict[str, Any]] = [{"id": i, "question": f"what is {i}?", "answer": str(i)} for i in range(5)]
TALK = [
    {"from": "human", "value": "hello"},
    {"from": "gpt", "value": "hi"},
    {"from": "human", "value": "why?"},
    {"from": "gpt", "value": "because"},
]


def written(folder: Path, kind: str, of: list[dict[str, Any]]) -> Path:
    path = folder / f"data.{kind}"
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(of), path, row_group_size=2)
    elif kind == "json":
        path.write_text(json.dumps(of, indent=1))
    else:
        path.write_text("\n".join(map(json.dumps, of)))
    return path


def texts(path: Path, column: str | None = None, most: int = 100) -> list[str]:
    return [p.text for p in rows.prompts(path, "set", column, most)]


@pytest.mark.parametrize("kind", ["parquet", "json", "jsonl"])
@pytest.mark.parametrize("column", [None, "question"])
def test_every_form_of_file_is_read(tmp_path: Path, kind: str, column: str | None) -> None:
    """A column that is called as usual need not be named; the first rows are enough."""
    path = written(tmp_path, kind, ROWS)

    assert [row["question"] for row in ROWS] == texts(path, column)
    assert ["what is 0?", "what is 1?"] == texts(path, column, most=2)


@pytest.mark.parametrize("kind", ["parquet", "json", "jsonl"])
def test_another_column_is_named(tmp_path: Path, kind: str) -> None:
    """And an unknown one is told with those that there are."""
    path = written(tmp_path, kind, ROWS)

    assert ["0", "1", "2", "3", "4"] == texts(path, "answer")
    with pytest.raises(RequestError, match="no column 'anwser'") as caught:
        texts(path, "anwser")
    assert "question, answer" in caught.value.hint


def test_without_a_usual_column_the_columns_are_told(tmp_path: Path) -> None:
    """Parquet says so at once."""
    path = written(tmp_path, "parquet", [{"a": "x", "b": "y"}])

    with pytest.raises(RequestError, match="none of the columns") as caught:
        texts(path)
    assert "a, b" in caught.value.hint


@pytest.mark.parametrize("kind", ["parquet", "json", "jsonl"])
def test_a_recorded_conversation_ends_with_the_users_last_turn(tmp_path: Path, kind: str) -> None:
    """What was answered to it then is not sent."""
    path = written(tmp_path, kind, [{"conversations": TALK}])
    (found,) = rows.prompts(path, "set", None, 9)

    assert [("user", "hello"), ("assistant", "hi"), ("user", "why?")] == [
        (m.role, m.content) for m in found.messages
    ]


def test_dollys_columns_are_joined(tmp_path: Path) -> None:
    """Context, then instruction; rows without any text are passed over."""
    of = [{"instruction": "sum up", "context": "long: "}, {"instruction": "", "context": ""}]

    assert ["long: sum up"] == texts(written(tmp_path, "parquet", of))


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("x.parquet", b"PAR1 and then nothing", "cannot be read as Parquet"),
        ("x.json", b"[1, ", "not JSON"),
        ("x.json", b"[1, 2]", "row 1: not an object"),
        ("x.jsonl", b"{}\n{", "line 2: not JSON"),
    ],
)
def test_what_cannot_be_read_is_told(tmp_path: Path, name: str, content: bytes, told: str) -> None:
    """With its name and row."""
    (tmp_path / name).write_bytes(content)

    with pytest.raises(RequestError, match=told):
        texts(tmp_path / name)
