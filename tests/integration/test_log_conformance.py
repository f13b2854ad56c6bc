"""What every `EventLog` promises, run against each implementation: a new one joins by one more entry in `IMPLEMENTATIONS`.

Each test gets `open_log`, which opens the same log again and again; only what the port states is asserted here, never how an
implementation does it.
"""

from __future__ import annotations

import asyncio
import contextlib
import pathlib
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

import pytest
from tests.servers import kafka

from penstock.log import port
from penstock.log.embedded import front as embedded
from penstock.log.kafka import front as kafka_front
from penstock.log.kafka import settings as kafka_settings

PARTITIONS = 3
LONG_SECONDS = 60.0

OpenLog = Callable[[], Awaitable[port.EventLog]]


def open_embedded(directory: pathlib.Path) -> OpenLog:
    return lambda: embedded.EmbeddedLog.open(directory / "log.db", partitions=PARTITIONS)


def open_kafka(server: kafka.Kafka) -> OpenLog:
    settings = kafka_settings.Settings(
        bootstrap=server.bootstrap, prefix=uuid.uuid4().hex, partitions=PARTITIONS, replication=1, min_in_sync=1
    )
    return lambda: kafka_front.KafkaLog.open(settings)


IMPLEMENTATIONS: dict[str, Callable[[pytest.FixtureRequest], OpenLog]] = {
    "embedded": lambda request: open_embedded(request.getfixturevalue("tmp_path")),
    "kafka": lambda request: open_kafka(request.getfixturevalue("kafka_server")),
}


@pytest.fixture(params=IMPLEMENTATIONS)
async def open_log(request) -> AsyncIterator[OpenLog]:
    opener = IMPLEMENTATIONS[request.param](request)
    opened: list[port.EventLog] = []

    async def open_again() -> port.EventLog:
        for log in opened:
            await log.close()
        opened.append(await opener())
        return opened[-1]

    yield open_again
    for log in opened:
        await log.close()


@pytest.fixture
async def log(open_log) -> port.EventLog:
    return await open_log()


class Listener:
    """Remembers what it was told."""

    def __init__(self, seek: Callable[[], None] | None = None) -> None:
        self.assigned: list[dict[int, port.Commit | None]] = []
        self._seek = seek

    async def on_assigned(self, commits: Mapping[int, port.Commit | None]) -> None:
        self.assigned.append(dict(commits))
        if self._seek:
            self._seek()

    async def on_revoked(self, partitions: Sequence[int]) -> None:
        raise AssertionError("one member alone loses nothing")


def record(sequence: int, value: bytes | None = None, producer: str = "p") -> port.NewRecord:
    headers = {"rows": str(sequence).encode(), "empty": b"", "binary": bytes(range(256))}
    return port.NewRecord(
        value=f"v{sequence}".encode() if value is None else value, headers=headers, producer=producer, sequence=sequence
    )


async def fill(log: port.EventLog, count: int, *, topic: str = port.EVENTS, partition: int = 0) -> None:
    start = (await log.bounds(topic, partition)).end
    for sequence in range(start, start + count):
        await log.append(topic, partition, record(sequence, producer=f"{topic}-{partition}"))


async def take(subscription: port.Subscription, count: int, *, max_bytes: int = 1 << 20) -> list[port.Record]:
    taken: list[port.Record] = []
    while len(taken) < count:
        taken += await subscription.poll(max_bytes=max_bytes, timeout_seconds=LONG_SECONDS)
    return taken


async def test_nothing_is_damaged_in_what_a_log_wrote_itself(log):
    """Catches healthy records, or offsets that are trimmed or not yet written, that are told as damaged."""
    await fill(log, 5, topic=port.DEAD_LETTERS)
    await log.trim(port.DEAD_LETTERS, 0, 2)
    assert await log.damaged(port.DEAD_LETTERS, 0, 0, 99) == []
    assert await log.damaged(port.DEAD_LETTERS, 1, 0, 99) == []


async def test_offsets_count_up_from_zero_in_each_partition_of_each_topic(log):
    """Catches one counter for all partitions, or for all topics."""
    for topic in (port.EVENTS, port.DEAD_LETTERS, port.replay_topic("warehouse")):
        for partition in (0, 2):
            appended = [await log.append(topic, partition, record(number, producer=topic)) for number in range(3)]
            assert [item.offset for item in appended] == [0, 1, 2]
            assert await log.bounds(topic, partition) == port.Bounds(start=0, end=3)
    assert await log.bounds(port.EVENTS, 1) == port.Bounds(start=0, end=0)


@pytest.mark.parametrize("size", [0, 1, 5_000, 300_000, 8 << 20])
async def test_a_record_comes_back_as_it_was_appended(log, size):
    """Catches a header or a byte lost on the way, and a limit below the largest block."""
    new = record(0, b"\x00\xff" * (size // 2) + b"x" * (size % 2))
    appended = await log.append(port.EVENTS, 1, new)
    [found] = await log.read(port.EVENTS, 1, 0, max_bytes=1)
    assert (found.value, found.headers, found.producer, found.sequence) == (new.value, new.headers, "p", 0)
    assert (found.topic, found.partition, found.offset) == (port.EVENTS, 1, appended.offset)
    assert found.append_time_microseconds == appended.append_time_microseconds


async def test_concurrent_appends_get_an_offset_each_and_times_never_go_back(log):
    """Catches two records under one offset when appends share a flush."""
    appends = (log.append(port.EVENTS, 0, record(number, producer=f"p{who}")) for number in range(20) for who in range(5))
    appended = await asyncio.gather(*appends)
    assert sorted(item.offset for item in appended) == list(range(100))
    found = await log.read(port.EVENTS, 0, 0, max_bytes=1 << 20)
    times = [item.append_time_microseconds for item in found]
    assert times == sorted(times)
    assert {(item.producer, item.sequence) for item in found} == {(f"p{who}", number) for who in range(5) for number in range(20)}


@pytest.mark.parametrize(("max_bytes", "count"), [(0, 1), (1, 1), (199, 1), (200, 2), (250, 2), (10_000, 5)], ids=str)
async def test_a_read_holds_what_fits_and_never_nothing(log, max_bytes, count):
    """Catches a reader that stands still before a record over its bound, and one that takes a record too many."""
    for number in range(5):
        await log.append(port.EVENTS, 0, record(number, b"x" * 100))
    found = await log.read(port.EVENTS, 0, 0, max_bytes=max_bytes)
    assert [item.offset for item in found] == list(range(count))


async def test_the_end_reads_as_nothing_and_beyond_it_as_a_gap(log):
    """Catches an offset that was never written being taken for a quiet log."""
    await fill(log, 3)
    assert list(await log.read(port.EVENTS, 0, 3, max_bytes=100)) == []
    assert list(await log.read(port.EVENTS, 1, 0, max_bytes=100)) == []
    with pytest.raises(port.OffsetOutOfRangeError, match="4"):
        await log.read(port.EVENTS, 0, 4, max_bytes=100)


async def test_headers_are_read_backwards_without_values(log):
    """Catches an order by age, an inclusive bound, and values that were read for nothing."""
    await fill(log, 6)
    found = await log.headers(port.EVENTS, 0, 5, limit=3)
    assert [(item.offset, item.value, item.headers["rows"]) for item in found] == [(4, b"", b"4"), (3, b"", b"3"), (2, b"", b"2")]
    assert [item.offset for item in await log.headers(port.EVENTS, 0, 2, limit=10)] == [1, 0]
    assert list(await log.headers(port.EVENTS, 0, 0, limit=10)) == []


async def test_the_listener_hears_the_commits_before_records_come(log):
    """Catches records that are given before the lane knows where it stood."""
    await fill(log, 2)
    listener = Listener()
    subscription = await log.subscribe(port.EVENTS, "g", listener)
    await subscription.commit({0: port.Commit(offset=1, metadata="plan")})
    await subscription.close()
    subscription = await log.subscribe(port.EVENTS, "g", listener)
    [found] = await take(subscription, 1)
    assert found.offset == 1
    assert listener.assigned == [{0: port.Commit(offset=1, metadata="plan"), 1: None, 2: None}]


async def test_a_listener_may_seek_where_its_group_never_committed(log):
    """Catches an assignment that overwrites where the lane wants to start."""
    await fill(log, 5)
    subscription = await log.subscribe(port.EVENTS, "g", Listener(lambda: subscription.seek(0, 3)))
    assert [item.offset for item in await take(subscription, 2)] == [3, 4]


async def test_every_record_is_given_once_and_in_order(log):
    """Catches a position that moves too little (twice) or too far (never)."""
    for partition in range(PARTITIONS):
        await fill(log, 20, partition=partition)
    subscription = await log.subscribe(port.EVENTS, "g", Listener())
    found = await take(subscription, 20 * PARTITIONS, max_bytes=10)
    for partition in range(PARTITIONS):
        assert [item.offset for item in found if item.partition == partition] == list(range(20))
    assert list(await subscription.poll(max_bytes=10, timeout_seconds=0.01)) == []


async def test_a_full_partition_does_not_keep_the_others_waiting(log):
    """Catches a poll that empties the first partition before it looks at the second."""
    await fill(log, 50, partition=0)
    await fill(log, 1, partition=1)
    await fill(log, 1, partition=2)
    subscription = await log.subscribe(port.EVENTS, "g", Listener())
    polls = [await subscription.poll(max_bytes=1, timeout_seconds=LONG_SECONDS) for _ in range(PARTITIONS)]
    assert {item.partition for poll in polls for item in poll} == {0, 1, 2}


async def test_a_waiting_poll_is_woken_by_an_append(log):
    """Catches a poll that only looks when it is called."""
    subscription = await log.subscribe(port.EVENTS, "g", Listener())
    assert list(await subscription.poll(max_bytes=100, timeout_seconds=0.0)) == []
    waiting = asyncio.create_task(subscription.poll(max_bytes=100, timeout_seconds=LONG_SECONDS))
    await asyncio.sleep(0)
    await fill(log, 1, partition=1)
    assert [(item.partition, item.offset) for item in await waiting] == [(1, 0)]


async def test_a_cancelled_poll_loses_nothing(log):
    """Catches a position that moves before the records are handed over."""
    subscription = await log.subscribe(port.EVENTS, "g", Listener())
    await subscription.poll(max_bytes=100, timeout_seconds=0.0)
    for number in range(20):
        await fill(log, 1)
        waiting = asyncio.create_task(subscription.poll(max_bytes=100, timeout_seconds=LONG_SECONDS))
        for _ in range(number % 4):
            await asyncio.sleep(0)
        if waiting.done():
            continue
        waiting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await waiting
    subscription.seek(0, 0)
    assert [item.offset for item in await take(subscription, 20)] == list(range(20))


async def test_a_paused_partition_gives_nothing_until_it_is_resumed(log):
    """Catches a pause that is forgotten, and a resume that needs an append to be noticed."""
    await fill(log, 2, partition=0)
    await fill(log, 2, partition=1)
    subscription = await log.subscribe(port.EVENTS, "g", Listener())
    subscription.pause([0])
    assert {item.partition for item in await take(subscription, 2)} == {1}
    assert list(await subscription.poll(max_bytes=100, timeout_seconds=0.01)) == []
    subscription.resume([0])
    assert [(item.partition, item.offset) for item in await take(subscription, 2)] == [(0, 0), (0, 1)]


async def test_commits_outlive_the_process_and_belong_to_one_group_and_topic(open_log):
    """Catches a commit kept in memory, and groups that share a row."""
    log = await open_log()
    await fill(log, 9)
    await fill(log, 9, topic=port.DEAD_LETTERS)
    identity = log.log_id
    for topic, group, offset in [(port.EVENTS, "a", 4), (port.EVENTS, "b", 7), (port.DEAD_LETTERS, "a", 2)]:
        subscription = await log.subscribe(topic, group, Listener())
        await subscription.commit({0: port.Commit(offset=9, metadata="old")})
        await subscription.commit({0: port.Commit(offset=offset, metadata=f"{topic} {group} é")})
        await subscription.close()
    log = await open_log()
    assert log.log_id == identity
    for topic, group, offset in [(port.EVENTS, "a", 4), (port.EVENTS, "b", 7), (port.DEAD_LETTERS, "a", 2)]:
        assert await log.committed(topic, group) == {0: port.Commit(offset=offset, metadata=f"{topic} {group} é")}
    subscription = await log.subscribe(port.EVENTS, "b", Listener())
    assert [item.offset for item in await take(subscription, 2)] == [7, 8]


async def test_metadata_of_3500_bytes_is_kept(log):
    """Catches a store that cuts what a plan needs."""
    subscription = await log.subscribe(port.EVENTS, "g", Listener())
    commit = port.Commit(offset=0, metadata="é" * 1_750)
    await subscription.commit({2: commit})
    assert await log.committed(port.EVENTS, "g") == {2: commit}


async def test_what_is_trimmed_is_a_gap_until_someone_seeks(log):
    """Catches a reader that jumps silently over what is no longer there."""
    await fill(log, 10)
    subscription = await log.subscribe(port.EVENTS, "g", Listener())
    await take(subscription, 10)
    await log.trim(port.EVENTS, 0, 6)
    assert await log.bounds(port.EVENTS, 0) == port.Bounds(start=6, end=10)
    with pytest.raises(port.OffsetOutOfRangeError, match="5"):
        await log.read(port.EVENTS, 0, 5, max_bytes=100)
    subscription.seek(0, 3)
    for _ in range(2):
        with pytest.raises(port.OffsetOutOfRangeError, match="3"):
            await subscription.poll(max_bytes=100, timeout_seconds=LONG_SECONDS)
    subscription.seek(0, 6)
    assert [item.offset for item in await take(subscription, 4)] == [6, 7, 8, 9]


async def test_offsets_go_on_after_everything_was_trimmed(open_log):
    """Catches an end that is derived from the records that are left."""
    log = await open_log()
    await fill(log, 4)
    await log.trim(port.EVENTS, 0, 4)
    log = await open_log()
    assert await log.bounds(port.EVENTS, 0) == port.Bounds(start=4, end=4)
    assert (await log.append(port.EVENTS, 0, record(0, producer="new"))).offset == 4


async def test_trimming_again_or_behind_the_start_changes_nothing(log):
    """Catches a start that goes backwards."""
    await fill(log, 5)
    for before in (3, 3, 1):
        await log.trim(port.EVENTS, 0, before)
        assert await log.bounds(port.EVENTS, 0) == port.Bounds(start=3, end=5)


async def test_an_unknown_partition_is_refused(log):
    """Catches a partition that is made by a wrong number."""
    with pytest.raises(port.LogError, match="partition"):
        await log.append(port.EVENTS, PARTITIONS, record(0))
    with pytest.raises(port.LogError, match="partition"):
        await log.read(port.EVENTS, PARTITIONS, 0, max_bytes=1)


async def test_appended_bytes_show_in_the_size(log):
    """Catches a size that counts nothing."""
    before = await log.size_bytes()
    await log.append(port.EVENTS, 0, record(0, b"x" * 1_000_000))
    assert await log.size_bytes() > before + 900_000


async def test_the_newest_two_snapshots_of_a_group_are_kept_across_a_restart(open_log):
    """Catches one slot only, which leaves nothing at or below the committed offset after a crash, and groups that share one."""
    log = await open_log()
    for offset in (0, 5, 9):
        await log.save_snapshot(port.EVENTS, "g", 1, port.Snapshot(offset=offset, content=b"s%d" % offset))
    await log.save_snapshot(port.EVENTS, "other", 1, port.Snapshot(offset=3, content=b"x"))
    await log.close()
    log = await open_log()
    assert list(await log.snapshot_offsets(port.EVENTS, "g", 1)) == [9, 5]
    assert list(await log.snapshot_offsets(port.EVENTS, "g", 0)) == []
    for at_most, wanted in ((100, 9), (9, 9), (8, 5), (4, None)):
        found = await log.load_snapshot(port.EVENTS, "g", 1, at_most)
        assert (found and found.offset, found and found.content) == (wanted, wanted and b"s%d" % wanted)


async def test_a_snapshot_of_a_lower_offset_takes_the_place_of_those_above(log):
    """Catches a lane that begins anew at its offset and later goes on from a snapshot of before."""
    for offset in (5, 9, 7):
        await log.save_snapshot(port.EVENTS, "g", 0, port.Snapshot(offset=offset, content=b"%d" % offset))
    assert list(await log.snapshot_offsets(port.EVENTS, "g", 0)) == [7, 5]
    await log.save_snapshot(port.EVENTS, "g", 0, port.Snapshot(offset=7, content=b"again"))
    assert (await log.load_snapshot(port.EVENTS, "g", 0, 7)) == port.Snapshot(offset=7, content=b"again")


async def test_forgotten_snapshots_are_gone_and_a_log_without_any_says_so(log):
    """Catches a first look that needs what only a first snapshot makes."""
    assert await log.load_snapshot(port.EVENTS, "g", 0, 100) is None
    await log.forget_snapshots(port.EVENTS, "g", 0)
    await log.save_snapshot(port.EVENTS, "g", 0, port.Snapshot(offset=5, content=b"s"))
    await log.forget_snapshots(port.EVENTS, "g", 0)
    assert list(await log.snapshot_offsets(port.EVENTS, "g", 0)) == []
