"""What is read of an embedded log, and what is never read."""

from __future__ import annotations

import contextlib
import pathlib
import sqlite3
from collections.abc import Iterator

import pytest

from penstock.log import port
from penstock.log.embedded import reader as embedded_reader
from penstock.log.embedded import schema as embedded_schema
from penstock.log.embedded import store as embedded_store


@pytest.fixture
def path(tmp_path) -> pathlib.Path:
    """A log of five records in partition 0."""
    path = tmp_path / "log.db"
    embedded_schema.create(path, embedded_schema.Identity(log_id="log-1", partitions=2))
    with contextlib.closing(embedded_schema.open_writer(path)) as connection:
        store = embedded_store.Store(connection, path, partitions=2, max_bytes=None, host=embedded_store.Host())
        store.begin()
        for sequence in range(5):
            record = port.NewRecord(value=b"v" * 50_000, headers={"rows": b"7"}, producer="p", sequence=sequence)
            store.apply(embedded_store.Append(topic=port.EVENTS, partition=0, record=record))
        store.commit()
    return path


@pytest.fixture
def reader(path) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(embedded_schema.open_reader(path)) as connection:
        yield connection


def change(path: pathlib.Path, statement: str) -> None:
    with contextlib.closing(embedded_schema.open_writer(path)) as connection:
        connection.execute(statement)


def test_headers_read_no_value(reader):
    """Catches a scan that pulls every block from the disk to look at its headers."""

    def only_headers(action: int, table: str | None, *_: object) -> int:
        return sqlite3.SQLITE_DENY if action == sqlite3.SQLITE_READ and table == "value" else sqlite3.SQLITE_OK

    reader.set_authorizer(only_headers)
    assert len(embedded_reader.headers(reader, port.EVENTS, 0, 5, 10)) == 5
    with pytest.raises(sqlite3.DatabaseError, match="prohibited"):
        embedded_reader.records(reader, port.EVENTS, 0, 0, 1)


def test_a_value_that_changed_on_the_disk_is_damage_and_named(path, reader):
    """Catches bytes that rotted being taken for a block, and whole records before them that nobody gets to see."""
    change(path, "UPDATE value SET content = zeroblob(50000) WHERE id = 3")
    assert [one.offset for one in embedded_reader.records(reader, port.EVENTS, 0, 0, 1 << 20)] == [0, 1]
    with pytest.raises(port.DamagedLogError, match="offset 2 is not what was written"):
        embedded_reader.records(reader, port.EVENTS, 0, 2, 1 << 20)


@pytest.mark.parametrize("statement", ["DELETE FROM record WHERE offset = 3", "DELETE FROM value WHERE id = 4"], ids=str)
@pytest.mark.parametrize("start", [0, 3], ids=str)
def test_a_record_that_is_missing_is_damage_and_never_skipped(path, reader, statement, start):
    """Catches a hole that reads as if it had never held anything."""
    change(path, statement)
    if start < 3:
        assert [one.offset for one in embedded_reader.records(reader, port.EVENTS, 0, start, 1 << 20)] == [0, 1, 2]
    with pytest.raises(port.DamagedLogError, match="offset 3 is missing"):
        embedded_reader.records(reader, port.EVENTS, 0, 3, 1 << 20)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE record SET headers = x'c1' WHERE offset > 2",
        "UPDATE record SET headers = x'81a2fffec400' WHERE offset > 2",
        "UPDATE record SET headers = 'text' WHERE offset > 2",
        "UPDATE record SET producer_id = 77 + offset WHERE offset > 2",
        "DELETE FROM record WHERE offset > 2",
    ],
    ids=["packing", "name", "type", "producer", "missing"],
)
def test_headers_that_changed_on_the_disk_are_left_out_and_told(path, reader, statement):
    """Catches an error that is none of a log's, a page of damaged records that looks like the log's beginning, and damage that is
    passed in silence."""
    change(path, statement)
    assert [one.offset for one in embedded_reader.headers(reader, port.EVENTS, 0, 5, 2)] in ([2], [2, 1])
    assert [one.offset for one in embedded_reader.headers(reader, port.EVENTS, 0, 5, 10)] == [2, 1, 0]
    told = embedded_reader.damaged(reader, port.EVENTS, 0, 0, 99)
    assert [one.offset for one in told] == [3, 4]
    assert all("the log is damaged" in one.reason and f"offset {one.offset} " in one.reason for one in told)
    assert embedded_reader.damaged(reader, port.EVENTS, 0, 4, 5) == told[1:]
    assert embedded_reader.damaged(reader, port.EVENTS, 0, 0, 3) == []


def test_a_reader_that_met_damage_sees_what_is_written_later(path, reader):
    """Catches a question left half-way, whose snapshot answers the next ones from the past."""
    change(path, "UPDATE value SET content = zeroblob(50000) WHERE id = 3")
    reader.execute("BEGIN")
    assert len(embedded_reader.records(reader, port.EVENTS, 0, 0, 1 << 20)) == 2
    with pytest.raises(port.DamagedLogError) as met:
        embedded_reader.records(reader, port.EVENTS, 0, 2, 1 << 20)
    reader.execute("ROLLBACK")
    change(path, "INSERT INTO group_commit VALUES ('events', 'g', 0, 4, '')")
    assert embedded_reader.committed(reader, port.EVENTS, "g")[0].offset == 4, met


def test_a_share_goes_to_each_partition_and_what_one_leaves_to_the_next(reader):
    """Catches a bound that is used up by the first partition."""
    found = embedded_reader.fair(reader, port.EVENTS, [(1, 0), (0, 0)], 120_000)
    assert {number: len(batch) for number, batch in found.items()} == {0: 2}
    found = embedded_reader.fair(reader, port.EVENTS, [(0, 0), (0, 3)], 200_000)
    assert [item.offset for item in found[0]] == [3, 4]


def test_a_gap_shows_whatever_the_other_partitions_have(reader):
    """Catches a gap that stays hidden behind partitions that use up the bound."""
    with pytest.raises(port.OffsetOutOfRangeError, match="9"):
        embedded_reader.fair(reader, port.EVENTS, [(0, 0), (1, 9)], 1)
