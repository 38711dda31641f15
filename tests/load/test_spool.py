"""Replies cross from process to process unchanged."""

from __future__ import annotations

import io

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.exchange import Outcome
from orchestrator.load.spec import Reply
from orchestrator.load.spool import encode, read

NS = st.integers(0, 2**62)
PIECES = st.lists(st.tuples(NS, st.binary(max_size=20)), max_size=5)


@st.composite
def replies(draw: st.DrawFn) -> Reply:
    pieces = draw(PIECES)
    return Reply(
        id=draw(st.text(max_size=8)),
        user=draw(st.integers(0, 2**31)),
        prompt=draw(st.integers(0, 2**31)),
        send_ns=draw(NS),
        headers_ns=draw(NS),
        end_ns=draw(NS),
        outcome=draw(st.sampled_from(Outcome)),
        status=draw(st.integers(0, 599)),
        connects=draw(st.integers(0, 255)),
        detail=draw(st.text(max_size=8)),
        times_ns=[t for t, _ in pieces],
        pieces=[p for _, p in pieces],
    )


@given(st.lists(replies(), max_size=4))
def test_what_is_written_is_read(written: list[Reply]) -> None:
    """Every field survives."""
    assert written == list(read(io.BytesIO(b"".join(map(encode, written)))))


@given(replies(), replies(), st.data())
def test_a_record_still_being_written_waits(first: Reply, second: Reply, data: st.DataObject) -> None:
    """Half a record is left in the file and read when it is whole."""
    whole = encode(first) + encode(second)
    cut = data.draw(st.integers(len(encode(first)), len(whole) - 1))
    file = io.BytesIO()
    file.write(whole[:cut])
    file.seek(0)

    assert [first] == list(read(file))

    position = file.tell()
    file.seek(0, io.SEEK_END)
    file.write(whole[cut:])
    file.seek(position)

    assert [second] == list(read(file))
