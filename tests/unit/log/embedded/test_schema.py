"""The embedded log's file: made whole, recognised, and refused with a remedy when it is not what it should be."""

from __future__ import annotations

import contextlib
import os
import pathlib
import sqlite3

import pytest

from penstock.log import port
from penstock.log.embedded import front as embedded
from penstock.log.embedded import schema as embedded_schema


@pytest.fixture
def path(tmp_path) -> pathlib.Path:
    return tmp_path / "log.db"


async def make(path: pathlib.Path, *, records: int = 0, partitions: int = 1) -> str:
    log = await embedded.EmbeddedLog.open(path, partitions=partitions)
    for sequence in range(records):
        record = port.NewRecord(value=os.urandom(100_000), headers={}, producer="p", sequence=sequence)
        await log.append(port.EVENTS, 0, record)
    await log.close()
    return log.log_id


async def refusal(path: pathlib.Path, **arguments: int) -> str:
    with pytest.raises(port.LogError) as caught:
        await embedded.EmbeddedLog.open(path, **arguments)
    return str(caught.value)


async def test_the_log_id_is_made_once_and_differs_between_logs(tmp_path):
    """Catches an id that is made at each start, under which landed ranges would not be known again."""
    first = await make(tmp_path / "a.db")
    assert await make(tmp_path / "a.db") == first
    assert await make(tmp_path / "b.db") != first


async def test_a_log_grows_while_it_is_used_and_stays_so(path):
    """Catches a new partition that can't be written until a restart, one that is forgotten there, and a log that shrinks."""
    log = await embedded.EmbeddedLog.open(path, partitions=2)
    record = port.NewRecord(value=b"", headers={}, producer="p", sequence=0)
    with pytest.raises(port.LogError, match="0 to 1"):
        await log.append(port.EVENTS, 3, record)
    for asked in (4, 3):
        await log.grow(asked)
    await log.append(port.EVENTS, 3, record)
    await log.close()
    log = await embedded.EmbeddedLog.open(path, read_only=True)
    assert (log.partitions, (await log.bounds(port.EVENTS, 3)).end) == (4, 1)
    await log.close()


async def test_a_log_with_a_new_id_knows_the_old_ones_and_where_they_ended(path):
    """Catches a letter that passes for one of another log under the new id, and an end that a later renewal moves."""
    first = await make(path, records=3, partitions=2)
    embedded.renew(path)
    log = await embedded.EmbeddedLog.open(path, partitions=2)
    second = log.log_id
    await log.append(port.EVENTS, 1, port.NewRecord(value=b"", headers={}, producer="q", sequence=0))
    await log.close()
    embedded.renew(path)
    log = await embedded.EmbeddedLog.open(path, read_only=True)
    await log.close()
    told = log.known_as
    assert len({first, second, log.log_id}) == 3
    assert [told.holds(first, *place) for place in ((0, 2), (0, 3), (1, 0))] == [True, False, False]
    assert [told.holds(second, *place) for place in ((0, 2), (0, 3), (1, 0), (1, 1))] == [True, False, True, False]


async def test_another_number_of_partitions_is_refused(path):
    """Catches keys that move to other partitions without a word."""
    await make(path, partitions=2)
    message = await refusal(path, partitions=3)
    assert "made with 2 partitions, 3 are asked for" in message
    assert "keep 2" in message


async def test_a_log_whose_partitions_no_key_chooses_grows(path):
    """Catches a growth that is forgotten at the next start, one that shrinks, and another id after it."""
    first = await make(path, partitions=2)
    for asked, there in ((4, 4), (3, 4)):
        log = await embedded.EmbeddedLog.open(path, partitions=asked, grows=True)
        try:
            assert (log.partitions, log.log_id) == (there, first)
            assert (await log.bounds("events", there - 1)).end == 0
        finally:
            await log.close()
    assert "made with 4 partitions, 2 are asked for" in await refusal(path, partitions=2)


async def test_a_newer_file_is_refused_by_its_version(path):
    """Catches an old release that writes into a file it does not understand."""
    await make(path)
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE log SET content = 2 WHERE name = 'version'")
    assert "newer Penstock (log version 2, this one reads 1)" in await refusal(path)


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.9], ids=str)
async def test_a_file_that_is_cut_short_is_refused_with_its_name_and_the_remedy(path, kept, monkeypatch):
    """Catches a log that starts empty, under a new id, where a full one was; also one too big to be checked in time."""
    monkeypatch.setattr(embedded_schema, "_quick_check", lambda _: "ok")
    await make(path, records=20)
    os.truncate(path, int(path.stat().st_size * kept) // 16_384 * 16_384)
    message = await refusal(path)
    assert str(path) in message
    assert "restore the data directory from a copy" in message


@pytest.mark.parametrize("offset", [0, 100, 16_384 * 2, 16_384 * 5], ids=str)
async def test_a_file_that_was_overwritten_is_refused_with_its_name_and_the_remedy(path, offset):
    """Catches damage to the structure that is only met when the lane gets there."""
    await make(path, records=20)
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(b"\xa5" * 8_192)
    message = await refusal(path)
    assert str(path) in message
    assert "restore the data directory from a copy" in message


async def test_a_refused_file_can_be_opened_once_it_is_mended(path):
    """Catches a lock or a connection that outlives the refusal."""
    log_id = await make(path, records=3)
    whole = path.read_bytes()
    os.truncate(path, 16_384)
    await refusal(path)
    path.write_bytes(whole)
    assert await make(path) == log_id


async def test_a_journal_without_its_log_is_refused(path):
    """Catches a new log that swallows the journal of a lost one."""
    path.with_name("log.db-wal").write_bytes(b"x" * 100)
    assert "its journal log.db-wal is there" in await refusal(path)


async def test_what_a_killed_creation_left_is_made_anew(path):
    """Catches a log that can't be made because it was half made before."""
    for name in ("log.db.new", "log.db.new-wal", "log.db.new-shm"):
        path.with_name(name).write_bytes(b"half")
    await make(path)
    assert sorted(item.name for item in path.parent.iterdir()) == ["log.db", "log.db.lock"]


async def test_opening_read_only_makes_nothing(path):
    """Catches a look at a directory that turns it into a log."""
    with pytest.raises(port.LogError, match="no log at"):
        await embedded.EmbeddedLog.open(path, read_only=True)
    assert list(path.parent.iterdir()) == []


async def test_read_only_refuses_to_write(path):
    """Catches a second writer through the side door."""
    await make(path)
    log = await embedded.EmbeddedLog.open(path, read_only=True)
    record = port.NewRecord(value=b"", headers={}, producer="p", sequence=0)
    for call in (log.append(port.EVENTS, 0, record), log.trim(port.EVENTS, 0, 0)):
        with pytest.raises(port.LogError, match="read-only"):
            await call
    await log.close()


def test_a_full_disk_and_a_failing_one_are_told_apart(path):
    """Catches a disk without room that stops the log for good, and a failing one that is written on."""
    full, failing = sqlite3.OperationalError("full"), sqlite3.OperationalError("disk I/O error")
    full.sqlite_errorcode, failing.sqlite_errorcode = sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_FSYNC
    assert isinstance(embedded_schema.explain(full, path), port.LogFullError)
    assert not embedded_schema.is_lasting(full)
    assert not isinstance(embedded_schema.explain(failing, path), port.LogFullError)
    assert embedded_schema.is_lasting(failing)
