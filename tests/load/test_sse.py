"""Stamped bytes become events, however the stream was cut."""

from __future__ import annotations

import json
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.load.sse import events


def cut(body: bytes, at: list[int]) -> tuple[list[int], list[bytes]]:
    """The body in pieces, the k-th stamped k+1."""
    bounds = [0, *sorted(at), len(body)]
    pieces = [body[a:b] for a, b in pairwise(bounds) if b > a]
    return list(range(1, len(pieces) + 1)), pieces


def data_of(body: bytes, at: list[int] | None = None) -> list[bytes]:
    return [data for _, data in events(*cut(body, at or []))]


def test_event_arrives_with_its_last_byte() -> None:
    """An event that spans two reads bears the time of the second."""
    assert list(events([1, 2], [b"data: a", b"b\n\n"])) == [(2, b"ab")]


def test_two_events_in_one_read_share_its_time() -> None:
    """Events that came in one read cannot be told apart in time."""
    assert list(events([7], [b"data: a\n\ndata: b\n\n"])) == [(7, b"a"), (7, b"b")]


def test_crlf_ends_lines_and_events() -> None:
    """CRLF streams are read as LF ones."""
    assert data_of(b"data: a\r\n\r\ndata: b\r\n\r\n") == [b"a", b"b"]


def test_no_space_after_the_colon() -> None:
    """TGI writes `data:{...}` without a space."""
    assert data_of(b"data:{}\n\n") == [b"{}"]


def test_comments_and_other_fields_are_passed_over() -> None:
    """Keep-alive comments, event names and ids carry no data."""
    assert data_of(b": ping\n\nevent: x\nid: 3\ndata: a\n\n") == [b"a"]


def test_data_over_several_lines_is_joined() -> None:
    """The specification joins the data lines of one event by a line feed."""
    assert data_of(b"data: a\ndata: b\n\n") == [b"a\nb"]


def test_line_separators_of_unicode_do_not_cut() -> None:
    """U+2028 and U+0085 may stand inside a JSON string."""
    text = json.dumps({"t": "a\u2028b\u0085c\u2029d"}, ensure_ascii=False).encode()

    assert [text] == data_of(b"data: " + text + b"\n\n")


def test_event_whose_blank_line_is_cut_arrives_with_the_rest_of_it() -> None:
    """Before that the event might still have grown."""
    assert list(events([1, 2], [b"data: a\n", b"\n"])) == [(2, b"a")]


def test_one_space_after_the_colon_is_not_data() -> None:
    """All others are."""
    assert [b" a "] == data_of(b"data:  a \n\n")


def test_lines_may_end_differently() -> None:
    """Each of CRLF, LF and CR ends a line, and CRLF ends one alone."""
    assert [b"a", b"b\nc"] == data_of(b"data: a\n\r\ndata: b\r\ndata: c\r\r\n")


def test_event_without_blank_line_at_the_end_counts() -> None:
    """A server that closes after its last line has still said it."""
    assert list(events([1, 2], [b"data: a\n\n", b"data: b"])) == [(1, b"a"), (2, b"b")]


def test_nothing_gives_nothing() -> None:
    """No body, no events."""
    assert list(events([], [])) == []


LINES = st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=12), max_size=6)


@given(LINES, st.sampled_from(["\n", "\r\n"]), st.lists(st.integers(0, 200), max_size=8))
def test_any_cut_gives_the_same_events(texts: list[str], newline: str, at: list[int]) -> None:
    """However a stream is split into reads, its events are the same."""
    body = "".join(f"data: {t}{newline}{newline}" for t in texts).encode()
    at = [i for i in at if i < len(body)]

    assert data_of(body) == data_of(body, at)
    assert data_of(body) == data_of(body + b":\r\r")  # a return anywhere takes the slower cut; it is the same


@given(st.binary(max_size=300), st.lists(st.integers(0, 299), max_size=5))
def test_no_input_crashes(body: bytes, at: list[int]) -> None:
    """Whatever a server sends is read to its end."""
    times = [t for t, _ in events(*cut(body, [i for i in at if i < len(body)]))]

    assert times == sorted(times)
