"""Group commit, and what those who wait are told when a transaction fails."""

from __future__ import annotations

import asyncio
import os
import sqlite3

import pytest

from penstock.log import port
from penstock.log.embedded import front as embedded
from penstock.log.embedded import store as embedded_store
from penstock.telemetry import metrics


@pytest.fixture
async def log(tmp_path):
    log = await embedded.EmbeddedLog.open(tmp_path / "log.db")
    yield log
    await log.close()


def record(sequence: int, producer: str = "p", value: bytes = b"v") -> port.NewRecord:
    return port.NewRecord(value=value, headers={}, producer=producer, sequence=sequence)


class Silent:
    async def on_assigned(self, commits) -> None: ...

    async def on_revoked(self, partitions) -> None: ...


def store_of(log) -> embedded_store.Store:
    return log._writing.writer._store


def flushes() -> tuple[float, float]:
    """Transactions that appended, and records in them."""
    samples = {sample.name: sample.value for family in metrics.LOG_FLUSH_RECORDS.collect() for sample in family.samples}
    return samples["penstock_log_flush_records_count"], samples["penstock_log_flush_records_sum"]


async def test_what_queues_up_behind_a_flush_shares_the_next_one(log, monkeypatch):
    """Catches a flush per append."""
    store = store_of(log)
    loop = asyncio.get_running_loop()
    begun, go_on = asyncio.Event(), asyncio.Event()
    commit = store.commit

    def slow_commit() -> None:
        loop.call_soon_threadsafe(begun.set)
        asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result()
        commit()

    monkeypatch.setattr(store, "commit", slow_commit)
    count, total = flushes()
    first = asyncio.create_task(log.append(port.EVENTS, 0, record(0, "a")))
    await begun.wait()
    rest = asyncio.gather(*(log.append(port.EVENTS, 0, record(number, "b")) for number in range(10)))
    await asyncio.sleep(0)
    assert not first.done()
    go_on.set()
    await asyncio.gather(first, rest)
    assert flushes() == (count + 2, total + 11)


async def test_a_full_disk_refuses_the_appends_and_writes_the_commits_beside_them(log):
    """Catches a commit that is lost because an append in its transaction found no room."""
    await log.append(port.EVENTS, 0, record(0, "a"))
    connection = log._writing.writer._connection
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages + 1}")
    subscription = await log.subscribe(port.EVENTS, "g", Silent())
    append, commit = await asyncio.gather(
        log.append(port.EVENTS, 0, record(1, "a", os.urandom(200_000))),
        subscription.commit({0: port.Commit(offset=1)}),
        return_exceptions=True,
    )
    assert isinstance(append, port.LogFullError)
    assert commit is None
    assert await log.committed(port.EVENTS, "g") == {0: port.Commit(offset=1)}
    connection.execute("PRAGMA max_page_count = 1000000")
    assert (await log.append(port.EVENTS, 0, record(1, "a", os.urandom(200_000)))).offset == 1


async def test_a_failing_disk_stops_the_log_for_good(log, monkeypatch):
    """Catches a writer that goes on after a flush failed, when nobody knows what the disk holds."""
    store = store_of(log)
    failing = sqlite3.OperationalError("disk I/O error")
    failing.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
    whole = store.commit

    def fail() -> None:
        raise failing

    monkeypatch.setattr(store, "commit", fail)
    with pytest.raises(port.LogError, match="disk failed"):
        await log.append(port.EVENTS, 0, record(0))
    monkeypatch.setattr(store, "commit", whole)
    with pytest.raises(port.LogError, match="disk failed"):
        await log.append(port.EVENTS, 0, record(0))
    assert await log.bounds(port.EVENTS, 0) == port.Bounds(start=0, end=0)


async def test_what_nobody_foresaw_is_answered_and_the_log_lives_on(log):
    """Catches a thread that dies with everybody waiting for it."""
    with pytest.raises(port.LogError, match="nothing was written"):
        await log.append(port.EVENTS, 0, record(0, "\ud800"))
    assert (await log.append(port.EVENTS, 0, record(0))).offset == 0


async def test_close_finishes_what_was_asked_for_and_refuses_what_comes_after(tmp_path):
    """Catches appends that hang or vanish at the end."""
    log = await embedded.EmbeddedLog.open(tmp_path / "log.db")
    appends = [asyncio.create_task(log.append(port.EVENTS, 0, record(number))) for number in range(50)]
    await asyncio.sleep(0)
    await log.close()
    assert [item.offset for item in await asyncio.gather(*appends)] == list(range(50))
    with pytest.raises(port.LogError, match="closed"):
        await log.append(port.EVENTS, 0, record(50))
    await log.close()


async def test_a_cancelled_append_disturbs_nobody(log):
    """Catches an answer to someone who no longer waits that keeps the others from theirs."""
    gone = asyncio.create_task(log.append(port.EVENTS, 0, record(0, "gone")))
    await asyncio.sleep(0)
    gone.cancel()
    assert (await log.append(port.EVENTS, 0, record(0))).offset in {0, 1}


async def test_the_journal_stays_short_however_much_is_written(log, tmp_path):
    """Catches a journal that is never moved into the file."""
    longest = 0
    for number in range(30):
        await log.append(port.EVENTS, 0, record(number, value=bytes(4 << 20)))
        longest = max(longest, (tmp_path / "log.db-wal").stat().st_size)
    assert longest < 48 << 20


async def test_a_second_member_of_a_group_is_refused_until_the_first_is_closed(log):
    """Catches two lanes that both get every record."""
    first = await log.subscribe(port.EVENTS, "g", Silent())
    with pytest.raises(port.LogError, match="subscribed to events already"):
        await log.subscribe(port.EVENTS, "g", Silent())
    await log.subscribe(port.EVENTS, "other", Silent())
    await first.close()
    await log.subscribe(port.EVENTS, "g", Silent())
    with pytest.raises(port.LogError, match="closed"):
        await first.poll(max_bytes=1, timeout_seconds=0.0)
