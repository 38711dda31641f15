"""The article's protocol around a load: five pings, and chunks counted in its way."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from orchestrator import literal
from tests.domain.made import exchange
from tests.fakes.engine import FakeEngine, steady


def test_five_pings_of_the_health_page() -> None:
    """Each takes some time; there are none without a page."""
    with FakeEngine(steady()) as engine:
        url = f"http://127.0.0.1:{engine.port}"
        found = literal.pings_s(url, "/health")
        missing = literal.pings_s(url, "/nowhere")

    assert 5 == len(found)
    assert all(0 < ping_s < 5 for ping_s in found)
    assert () == missing == literal.pings_s(url, None)
    assert () == literal.pings_s(url, "/health")  # nobody listens any more


def test_each_chunk_is_stripped_and_tokenised_again() -> None:
    """White space counts nothing, a word what its letters are; a text is tokenised once."""
    asked: list[str] = []

    def encode(text: str) -> list[int]:
        asked.append(text)
        return [ord(c) for c in text]

    chunks = ("ab", " ab ", "\n", "", "c", "ab")
    x = replace(
        exchange(0.0, [0.1 * i for i in range(1, 7)]),
        text="".join(chunks),
        event_chars=np.array([len(c) for c in chunks], np.int32),
    )
    (found,) = literal.counted([x], encode)

    assert list(chunks) == list(x.event_texts)
    assert [2, 2, 0, 0, 1, 2] == found.literal_tokens.tolist()
    assert len(set(chunks)) == len(asked)
