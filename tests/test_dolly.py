"""The article's prompts are fetched when they can be, and only the known file is kept. Real HTTP."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator import dolly
from orchestrator.domain.workload import PromptSource
from tests.fakes.engine import FakeEngine, steady

CONTENT = '{"instruction": "a known file"}'


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeEngine]:
    monkeypatch.setattr(dolly, "DOLLY_SHA256", hashlib.sha256(CONTENT.encode()).hexdigest())
    with FakeEngine(
        steady(), gets={"/dolly": (200, CONTENT), "/other": (200, "else"), "/no": (404, "")}
    ) as it:
        yield it


def provide(server: FakeEngine, page: str, path: Path, source: PromptSource = PromptSource.AUTO) -> list[str]:
    said: list[str] = []
    dolly.provide(source, path, url=f"http://127.0.0.1:{server.port}{page}", progress=said.append)
    return said


def test_known_file_is_kept(server: FakeEngine, tmp_path: Path) -> None:
    """What has the right sha256 is written, whole."""
    path = tmp_path / "prompts" / "dolly.jsonl"

    assert [] == provide(server, "/dolly", path)
    assert CONTENT == path.read_text()


@pytest.mark.parametrize(("page", "said"), [("/other", "not the known file"), ("/no", "cannot be fetched")])
def test_anything_else_is_told_and_left_out(server: FakeEngine, tmp_path: Path, page: str, said: str) -> None:
    """A wrong file and a refusal are told; nothing is written."""
    path = tmp_path / "dolly.jsonl"
    (line,) = provide(server, page, path)

    assert said in line
    assert not path.exists()


def test_no_network_is_told(tmp_path: Path) -> None:
    """A host without network goes on with a word about it."""
    said: list[str] = []
    dolly.provide(PromptSource.AUTO, tmp_path / "d", url="http://127.0.0.1:9/dolly", progress=said.append)

    assert ["databricks-dolly-15k cannot be fetched here (ConnectError)"] == said


def test_nothing_is_fetched_that_is_not_asked_for(server: FakeEngine, tmp_path: Path) -> None:
    """Our own prompts need no network, and a file that is there is not fetched again."""
    path = tmp_path / "dolly.jsonl"

    assert [] == provide(server, "/other", path, PromptSource.OWN)
    path.write_text("here")
    assert [] == provide(server, "/other", path)
    assert "here" == path.read_text()
