"""Reads cross from process to process unchanged, in bounded files."""

from __future__ import annotations

from collections.abc import Callable
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


READS = st.builds(Read, exchange=NUMBER, at_ns=NS, stamp_ns=NS, data=st.binary(min_size=1, max_size=40))
SAMPLES = st.builds(Sample, at_ns=NS, offset_ns=st.integers(-(2**62), 2**62))
ENTRIES = st.lists(st.one_of(READS, SAMPLES, ends()), max_size=12)


def receive(writer: Writer, read: Read) -> None:
    """As from a socket that is read at the read's time."""

    def recvmsg_into(
        buffers: tuple[memoryview], _: int
    ) -> tuple[int, list[tuple[int, int, bytes]], int, None]:
        buffers[0][: len(read.data)] = read.data
        stamp = spool._TIMESPEC.pack(*divmod(read.stamp_ns, 1_000_000_000))
        return len(read.data), [(0, 0, stamp)] if read.stamp_ns else [], 0, None

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spool, "perf_counter_ns", lambda: read.at_ns)
        at_ns, data = writer.receive(read.exchange, recvmsg_into)
    assert (read.at_ns, read.data) == (at_ns, bytes(data))


def at_once(call: Callable[[], None]) -> None:
    """Leisure without end."""
    call()


def write(writer: Writer, entry: Entry) -> None:
    if isinstance(entry, Read):
        receive(writer, entry)
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
    writer, reader = Writer(folder, at_once), Reader(folder)
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
    writer = Writer(folder, at_once)
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
    """What is gathered is bounded, however little time there is between two flushes."""
    writer = Writer(tmp_path, at_once)
    for _ in range(8):
        receive(writer, Read(0, 1, 0, bytes(1 << 16)))

    assert (tmp_path / "000000.spool").stat().st_size > 8 << 16
    assert 8 == writer.reads
    writer.close()


def test_what_is_gathered_waits_for_leisure(tmp_path: Path) -> None:
    """A write holds up the reads that come meanwhile."""
    asked: list[Callable[[], None]] = []
    writer, path = Writer(tmp_path, asked.append), tmp_path / "000000.spool"
    receive(writer, Read(0, 1, 0, bytes(spool.FLUSH_BYTES)))
    receive(writer, Read(0, 1, 0, bytes(1)))
    (flush,) = asked
    before = path.stat().st_size
    flush()

    assert 0 == before
    assert path.stat().st_size > spool.FLUSH_BYTES
    writer.close()


def test_the_end_of_a_stream_makes_no_record(tmp_path: Path) -> None:
    """Only what came is a read."""
    writer = Writer(tmp_path, at_once)
    receive(writer, Read(7, 1, 0, b""))
    writer.close()

    assert 0 == writer.reads
    assert b"" == (tmp_path / "000000.spool").read_bytes()


def test_long_detail_is_cut(tmp_path: Path) -> None:
    """A record has its place in the block, whatever a fault has to say."""
    writer, reader = Writer(tmp_path, at_once), Reader(tmp_path)
    writer.end(1, Reply(id="x", user=0, prompt=0, send_ns=1, detail="\U0001f600" * 100_000))
    writer.close()
    (end,) = reader.entries()
    reader.close()

    assert isinstance(end, End)
    assert "\U0001f600" * spool.DETAIL_CHARS == end.reply.detail


def test_without_leisure_the_block_is_written_when_it_is_full(tmp_path: Path) -> None:
    """And leisure is asked for once, however long it does not come."""
    asked: list[Callable[[], None]] = []
    writer = Writer(tmp_path, asked.append)
    for number in range(42):
        receive(writer, Read(number, 1, 0, bytes(60_000)))
    reader = Reader(tmp_path)

    assert 1 == len(asked)
    assert 40 == len([*reader.entries()])
    asked[0]()
    assert [40, 41] == [entry.exchange for entry in reader.entries() if isinstance(entry, Read)]
    receive(writer, Read(42, 1, 0, bytes(60_000)))
    assert 2 == len(asked)
    writer.close()
    reader.close()
