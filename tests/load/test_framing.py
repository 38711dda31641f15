"""Where a response ends and what body it has, however it was cut on its way."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.load.framing import Framing, body

INTERIM = (b"", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
CONTENT = st.one_of(
    st.binary(max_size=40),
    st.sampled_from([b"0\r\n\r\n", b"a0\r\n\r\nb", b"\r\n\r\n", b'data: {"a":1}\r\n\r\n', b"data: x\n\n"]),
)
EXTENSION = st.sampled_from([b"", b";a=b", b';name="quoted value"'])
TRAILER = st.sampled_from([b"", b"X-Checksum: 1\r\n", b"A: 1\r\nB: 2\r\n"])


@st.composite
def responses(draw: st.DrawFn) -> tuple[bytes, bytes, bool]:
    """(response, its body, whether its end shows in it)."""
    interim = draw(st.sampled_from(INTERIM))
    contents = [content for content in draw(st.lists(CONTENT, max_size=6)) if content]
    whole = b"".join(contents)
    how = draw(st.sampled_from(["chunked", "sized", "closed"]))
    if how == "sized":
        return interim + b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(whole) + whole, whole, True
    if how == "closed":
        return interim + b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + whole, whole, False
    chunks = b"".join(b"%x%s\r\n%s\r\n" % (len(c), draw(EXTENSION), c) for c in contents)
    return interim + CHUNKED + chunks + b"0%s\r\n%s\r\n" % (draw(EXTENSION), draw(TRAILER)), whole, True


def cut(data: st.DataObject, response: bytes) -> list[bytes]:
    """The response in portions, none of them empty."""
    at = data.draw(st.lists(st.integers(1, max(1, len(response) - 1)), max_size=12, unique=True))
    return [response[a:b] for a, b in pairwise([0, *sorted(at), len(response)]) if a < b]


@given(responses(), st.data())
def test_any_cut_of_a_response_has_the_same_body(
    made: tuple[bytes, bytes, bool], data: st.DataObject
) -> None:
    """Each byte of it arrives with the portion that held it; the end is seen with the last portion only."""
    response, whole, shows = made
    portions = cut(data, response)
    status, headers_at, times, pieces = body(enumerate(portions, start=1))

    assert (200, whole) == (status, b"".join(pieces))
    assert all(piece in portions[at - 1] for at, piece in zip(times, pieces, strict=True))
    assert times == sorted(times)
    assert 1 <= headers_at <= len(portions)
    framing = Framing()
    seen = [(framing.feed(portion), framing.complete)[1] for portion in portions]

    assert [*[False] * (len(portions) - 1), shows] == seen


@given(st.lists(st.binary(min_size=1, max_size=60), max_size=8), st.booleans())
def test_no_input_breaks_it(portions: list[bytes], headed: bool) -> None:
    """Garbage is an error text or nothing, never an exception."""
    reads = [CHUNKED, *portions] if headed else portions
    framing = Framing()
    for portion in reads:
        framing.feed(portion)
    _, _, times, pieces = body(enumerate(reads))

    assert len(times) == len(pieces)


@pytest.mark.parametrize(
    ("response", "keep"),
    [
        (CHUNKED + b"0\r\n\r\n", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", False),
        (CHUNKED + b"0\r\n\r\nmore", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\nmore", False),
    ],
)
def test_connection_is_kept_where_the_response_allows_it(response: bytes, keep: bool) -> None:
    """And carries nothing that was not asked for."""
    framing = Framing()

    assert ("", True, keep) == (framing.feed(response), framing.complete, framing.keep)


def test_switch_of_protocols_is_no_answer() -> None:
    """Nobody asked for it."""
    framing = Framing()

    assert framing.feed(b"HTTP/1.1 101 Switching\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\nx").startswith(
        "not HTTP"
    )
    assert not framing.complete
