"""Prompts of a data set from a hub that is a real HTTP server."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from backends.contract import FailureCause
from orchestrator import datasets
from orchestrator.artifacts import Store, entries
from orchestrator.catalog.prompts import HubFile, load
from orchestrator.domain.workload import PromptSource, PromptSpec
from orchestrator.errors import CellError
from orchestrator.interrupts import Interrupts
from tests.fakes.hub import COMMIT, FakeHub

TOKEN = "hf_planted_secret"  # noqa: S105 - planted, to see that it goes nowhere
QUESTIONS = [f"what is {i}?" for i in range(60)]
LINES = "\n".join(json.dumps({"question": q}) for q in QUESTIONS).encode()
SPEC = PromptSpec(source=PromptSource.HUB, repository="somebody/set", path="data/train.jsonl")


def parquet() -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([{"text": q} for q in QUESTIONS]), sink)
    return sink.getvalue()


@pytest.fixture
def server() -> Iterator[FakeHub]:
    files = {"data/train.jsonl": LINES, "data/train.parquet": parquet(), "README.md": b"not wanted"}
    with FakeHub(files, large=("data/train.parquet",), repository="datasets/somebody/set") as fake:
        yield fake


@pytest.fixture
def means(tmp_path: Path, server: FakeHub) -> datasets.Means:
    return datasets.Means(
        store=Store(tmp_path / "cache"),
        log_path=tmp_path / "fetch.log",
        interrupts=Interrupts(lambda _: None),
        progress=lambda _: None,
        environment={"HF_ENDPOINT": server.url, "NO_PROXY": "*"},
        token=TOKEN,
    )


def texts(found: HubFile | None, spec: PromptSpec = SPEC) -> list[str]:
    assert found is not None
    return [p.text for p in load(spec, dolly_path=None, count_tokens=len, fetched=found).prompts]


def test_a_file_comes_at_the_commit_that_the_revision_means(means: datasets.Means, server: FakeHub) -> None:
    """That file alone, once; the commit stands in its name."""
    found = datasets.provide(SPEC, means)
    asked = len(server.asked)
    again = datasets.provide(SPEC, means)
    assert found is not None

    assert QUESTIONS == texts(found)
    assert f"somebody/set@{COMMIT[:12]}/data/train.jsonl" == found.name
    assert (found, asked) == (again, len(server.asked))
    assert not any(a.path.endswith("README.md") for a in server.asked)
    assert ["somebody--set"] == [e.home.name.rpartition("-")[0] for e in entries(means.store.cache_dir)]


def test_parquet_is_fetched_too_and_its_hash_compared(means: datasets.Means, server: FakeHub) -> None:
    """A large file whose bytes are not those that the hub states is refused."""
    spec = SPEC.model_copy(update={"path": "data/train.parquet"})

    server.lie["data/train.parquet"] = bytes(len(server.files["data/train.parquet"]))
    with pytest.raises(CellError, match="has the sha256"):
        datasets.provide(spec, means)
    server.lie.clear()

    assert QUESTIONS == texts(datasets.provide(spec, means), spec)


def test_the_token_goes_to_the_hub_alone(means: datasets.Means, server: FakeHub) -> None:
    """Not to where large files lie, and into no file."""
    datasets.provide(SPEC.model_copy(update={"path": "data/train.parquet"}), means)

    assert {("127.0.0.1", f"Bearer {TOKEN}"), ("127.0.0.2", "")} == {
        (a.host, a.authorization) for a in server.asked
    }
    for path in (p for p in means.store.cache_dir.parent.rglob("*") if p.is_file()):
        assert TOKEN.encode() not in path.read_bytes(), path


def test_a_file_that_is_not_there_is_told(means: datasets.Means) -> None:
    """With what was asked for."""
    with pytest.raises(
        CellError, match=r"datasets/somebody/set could not be fetched: it has no data/tran.jsonl"
    ):
        datasets.provide(SPEC.model_copy(update={"path": "data/tran.jsonl"}), means)


def test_a_gated_set_says_how_to_get_access(means: datasets.Means, server: FakeHub) -> None:
    """As gated weights do."""
    server.fail["main"] = (403, "GatedRepo")

    with pytest.raises(CellError, match="gated") as caught:
        datasets.provide(SPEC, means)
    assert FailureCause.GATED_MODEL is caught.value.cause


def test_other_prompts_ask_nobody(means: datasets.Means, server: FakeHub) -> None:
    """No hub, no token."""
    assert datasets.provide(PromptSpec(), means) is None
    assert [] == server.asked


def test_a_digest_stands_for_file_and_filter(means: datasets.Means) -> None:
    """As for any other file of prompts."""
    found = datasets.provide(SPEC, means)
    narrow = SPEC.model_copy(update={"max_tokens": 10})
    wide = load(SPEC, dolly_path=None, count_tokens=len, fetched=found)

    assert wide.digest == load(SPEC, dolly_path=None, count_tokens=len, fetched=found).digest
    assert wide.digest != load(narrow, dolly_path=None, count_tokens=lambda t: 10, fetched=found).digest
