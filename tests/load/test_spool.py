"""Reads cross from process to process unchanged, in bounded files."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.domain.exchange import Outcome
from orchestrator.load import spool
from orchestrator.load.spec import Reply
from orchestrator.load.spool import End, Entry, Read, Reader, Sample, Writer

NS = st.integers(0, 2**62)
NUMBER = st.integers(0, 2**32 - 1)
MANY = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)


@st.composite
def ends(draw: st.DrawFn) -> End:
    reply = Reply(
        id=draw(st.text(max_size=8)),
        user=draw(NUMBER),
        prompt=draw(NUMBER),
        send_ns=draw(NS),
        end_ns=draw(NS),
        outcome=draw(st.sampled_from(Outcome)),
        status=draw(st.integers(0, 599)),
        connects=draw(st.integers(0, 255)),
        detail=draw(st.text(max_size=8)),
    )
    return End(draw(NUMBER), reply)


READS = st.builds(Read, exchange=NUMBER, at_ns=NS, stamp_ns=NS, data=st.binary(max_size=40))
SAMPLES = st.builds(Sample, at_ns=NS, offset_ns=st.integers(-(2**62), 2**62))
ENTRIES = st.lists(st.one_of(READS, SAMPLES, ends()), max_size=12)


def write(writer: Writer, entry: Entry) -> None:
    if isinstance(entry, Read):
        stamp = spool._TIMESPEC.pack(*divmod(entry.stamp_ns, 1_000_000_000))
        writer.read(entry.exchange, entry.at_ns, stamp, entry.data)
    elif isinstance(entry, End):
        writer.end(entry.exchange, entry.reply)
    else:
        writer.sample(entry.at_ns, entry.offset_ns)


@MANY
@given(ENTRIES, st.integers(0, 100))
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, some: list[Entry], segment: int
) -> None:
    """Every field survives, in order, also over many segments; nothing but the last of them is left."""
    folder = tmp_path_factory.mktemp("spool")
    writer, reader = Writer(folder), Reader(folder)
    found: list[Entry] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spool, "SEGMENT_BYTES", segment)
        for entry in some:
            write(writer, entry)
            writer.flush()
            found += reader.entries()
        writer.close()
    found += reader.entries()
    reader.close()

    assert some == found
    assert len(list(folder.iterdir())) == 1


@MANY
@given(ENTRIES.filter(bool), st.data())
def test_a_record_still_being_written_waits(
    tmp_path_factory: pytest.TempPathFactory, some: list[Entry], data: st.DataObject
) -> None:
    """Half a record is left in the file and read when it is whole."""
    folder = tmp_path_factory.mktemp("spool")
    writer = Writer(folder)
    for entry in some:
        write(writer, entry)
    writer.close()
    path = folder / "000000.spool"
    whole = path.read_bytes()
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    reader = Reader(folder)
    found = list(reader.entries())

    assert found == some[: len(found)]
    assert len(found) < len(some)

    with path.open("r+b") as file:
        file.write(whole)
    found += reader.entries()
    reader.close()

    assert some == found


def test_a_spool_that_has_not_begun_is_empty(tmp_path: Path) -> None:
    """The client's process may not have come to it yet."""
    reader = Reader(tmp_path)

    assert [] == list(reader.entries())
    reader.close()


def test_large_reads_are_written_at_once(tmp_path: Path) -> None:
    """What is buffered is bounded, however little time there is between two flushes."""
    writer = Writer(tmp_path)
    for _ in range(8):
        writer.read(0, 1, spool.NO_STAMP, bytes(1 << 16))

    assert (tmp_path / "000000.spool").stat().st_size > 8 << 16
    writer.close()
