"""Whatever a server writes, and however the network cuts it."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.contract import Dialect
from orchestrator.domain.exchange import CountedBy, Exchange, Outcome
from orchestrator.store.tables import exchanges_bytes
from tests.load.streams import (
    DONE,
    ROLE,
    Json,
    Written,
    chat,
    compact,
    completion,
    cut,
    line,
    read,
    sse,
    tensor,
    token,
    usage,
)

# any character that JSON can hold, those that other clients cut lines at often among them
CHARACTERS = st.characters(codec="utf-8") | st.sampled_from(
    ["\u2028", "\u2029", "\u0085", "\n", "\r", "é", "\U0001f600"]
)
TEXT = st.text(CHARACTERS, min_size=1, max_size=6)
TEXTS = st.lists(TEXT, min_size=1, max_size=8)
RISES = st.lists(st.integers(1, 5), min_size=8, max_size=8)
CUTS = st.lists(st.integers(1, 2000), max_size=12)
NOISE = st.sampled_from([b"", b": ping\n\n", b":\n\n", b"event: x\nid: 1\n\n", b"\n"])


def _events(texts: list[str], noise: bytes, write: Callable[[str], bytes]) -> bytes:
    return b"".join(noise + write(text) for text in texts)


def _openai(dialect: Dialect, make: Callable[..., Json]) -> st.SearchStrategy[Written]:
    def build(texts: list[str], rises: list[int], noise: bytes, counted: bool, crlf: bool) -> Written:
        body = noise + (sse(ROLE) if dialect is Dialect.OPENAI_CHAT else b"")
        so_far = 0
        for text, rise in zip(texts, rises, strict=False):
            so_far += rise
            body += sse(make(text) | (usage(so_far) if counted else {})) + noise
        body += sse(make("", finish_reason="stop")) + sse({"choices": []} | usage(so_far)) + DONE
        body = body.replace(b"\n\n", b"\r\n\r\n") if crlf else body
        brought = rises[: len(texts)] if counted else [1] * len(texts)
        return Written(dialect, body, "".join(texts), brought, so_far)

    return st.builds(build, TEXTS, RISES, NOISE, st.booleans(), st.booleans())


def _generate_stream() -> st.SearchStrategy[Written]:
    def build(texts: list[str], noise: bytes) -> Written:
        last = {"finish_reason": "eos_token", "generated_tokens": len(texts) + 1}
        body = _events(texts, noise, lambda t: compact(token(t)))
        body += compact(token("<|e|>", special=True, details=last))
        return Written(Dialect.GENERATE_STREAM, body, "".join(texts), [1] * (len(texts) + 1), len(texts) + 1)

    return st.builds(build, TEXTS, NOISE)


def _tensor_stream() -> st.SearchStrategy[Written]:
    def build(texts: list[str], noise: bytes) -> Written:
        body = _events(texts, noise, lambda t: sse(tensor(t)))
        return Written(Dialect.TENSOR_STREAM, body, "".join(texts), [1] * len(texts))

    return st.builds(build, TEXTS, NOISE)


def _json_lines() -> st.SearchStrategy[Written]:
    def build(texts: list[str], rises: list[int]) -> Written:
        so_far, body = 0, b""
        for text, rise in zip(texts, rises, strict=False):
            so_far += rise
            body += line(text, so_far)
        body += line("", so_far, "length")
        return Written(Dialect.JSON_LINES, body, "".join(texts), rises[: len(texts)], so_far)

    return st.builds(build, TEXTS, RISES)


STREAMS = (
    _openai(Dialect.OPENAI_CHAT, chat)
    | _openai(Dialect.OPENAI_COMPLETIONS, completion)
    | _generate_stream()
    | _tensor_stream()
    | _json_lines()
)


@settings(max_examples=300)
@given(STREAMS, CUTS)
def test_any_split_of_any_valid_stream_gives_the_same(stream: Written, at: list[int]) -> None:
    """Tokens, counts and text do not depend on where the network cuts."""
    x = read(cut(stream.body, at), stream.dialect)

    assert (Outcome.OK, "") == (x.outcome, x.detail)
    assert stream.event_tokens == x.event_tokens.tolist()
    assert stream.completion_tokens == x.completion_tokens
    assert len(stream.text) == x.text_chars
    assert sorted(x.event_ns) == x.event_ns.tolist()


@settings(max_examples=100)
@given(st.text(CHARACTERS, min_size=1, max_size=60), CUTS)
def test_any_split_of_raw_text_gives_the_same_text(text: str, at: list[int]) -> None:
    """Where nothing frames, only events follow the cuts."""
    x = read(cut(text.encode(), at), Dialect.RAW_TEXT)

    assert (Outcome.OK, len(text)) == (x.outcome, x.text_chars)
    assert 1 <= len(x.event_ns) <= len(at) + 1


def sane(x: Exchange) -> None:
    """What holds of every exchange, and that it can be stored."""
    assert len(x.event_ns) == len(x.event_tokens)
    assert (x.event_tokens >= 0).all()
    if x.counted_by is CountedBy.CUMULATIVE:
        assert x.event_tokens.sum() <= (x.completion_tokens or 0)
    assert exchanges_bytes([x])


@settings(max_examples=300)
@given(st.sampled_from(Dialect), st.binary(max_size=400), CUTS, st.sampled_from(Outcome))
def test_no_bytes_crash_the_parser(dialect: Dialect, body: bytes, at: list[int], outcome: Outcome) -> None:
    """Garbage is a failed exchange that can be stored."""
    sane(read(cut(body, at), dialect, outcome=outcome))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
_KEYS = """
choices delta content role finish_reason usage completion_tokens prompt_tokens error object token text
special details generated_tokens generated_text text_output tokens input_tokens tool_calls
"""
KEYS = st.sampled_from(_KEYS.split())
NESTED = st.recursive(
    JSON, lambda inner: st.dictionaries(KEYS, inner, max_size=5) | st.lists(inner, max_size=2), max_leaves=12
)


@settings(max_examples=120)
@given(st.sampled_from(Dialect), st.lists(st.dictionaries(KEYS, NESTED, max_size=6), max_size=4))
def test_no_json_crashes_the_parser(dialect: Dialect, stream: list[Json]) -> None:
    """Our own words with any values whatever: wrong types, huge numbers, lone surrogates."""
    wrap = (lambda v: sse(v)[6:-1]) if dialect is Dialect.JSON_LINES else sse
    sane(read([wrap(value) for value in stream], dialect))


@pytest.mark.parametrize("dialect", Dialect)
@pytest.mark.parametrize(
    "body",
    [
        b"data: " + b"[" * 200_000 + b"\n\n",
        b"[" * 200_000 + b"\n",
        b"\r" * 300_000,
        b"\n" * 300_000,
        b"data:" * 100_000,
        b" " * 300_000 + b"x",
        b'data: {"choices":[{"delta":{"content":"\\ud800"},"finish_reason":"\\udfff"}]}\n\n',
        b'{"text":"\\ud800","tokens":99999999999999999999999,"finish_reason":"\\udfff"}\n',
        b'data: {"usage":{"completion_tokens":' + b"9" * 5000 + b"}}\n\n",
    ],
    ids=range(9),
)
def test_hostile_bodies_end_soon(dialect: Dialect, body: bytes) -> None:
    """Nesting without end, blank lines without end, numbers without end."""
    began_s = time.perf_counter()
    sane(read([body], dialect))

    assert time.perf_counter() - began_s < 2


@pytest.mark.parametrize("dialect", Dialect)
def test_time_grows_with_the_length_and_no_faster(dialect: Dialect) -> None:
    """Four times the stream, in pieces of 64 bytes, is not much more than four times the work."""
    event = {
        Dialect.GENERATE_STREAM: compact(token("a")),
        Dialect.TENSOR_STREAM: sse(tensor("a")),
        Dialect.JSON_LINES: line("a", 1),
        Dialect.RAW_TEXT: b"word " * 20,
        Dialect.OPENAI_COMPLETIONS: sse(completion("a")),
    }.get(dialect, sse(chat("a")))

    def took_s(events: int) -> float:
        body = event * events
        pieces = cut(body, range(64, len(body), 64))
        best = float("inf")
        for _ in range(3):
            began_s = time.process_time()
            read(pieces, dialect)
            best = min(best, time.process_time() - began_s)
        return best

    assert took_s(8000) < 12 * took_s(2000)
