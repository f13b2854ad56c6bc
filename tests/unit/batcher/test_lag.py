"""How far a lane is behind, from a log that counts what it is asked for."""

import dataclasses
import time

import pytest

from penstock.batcher import lag
from penstock.core import blocks
from penstock.log import port

DAY = 86_400.0


@dataclasses.dataclass
class Log:
    """One partition of blocks with so many events each; `looked` is how many headers were read."""

    rows: list[int]
    looked: int = 0
    damaged: range = range(0)

    async def bounds(self, topic, partition):
        return port.Bounds(start=0, end=len(self.rows))

    async def headers(self, topic, partition, before, *, limit):
        offsets = range(max(0, before - limit), before)
        self.looked += len(offsets)
        return [self._record(offset) for offset in reversed(offsets) if offset not in self.damaged]

    def _record(self, offset):
        header = blocks.BlockHeader(
            format_version=blocks.FORMAT_VERSION,
            fingerprint="",
            rows=self.rows[offset],
            compression=blocks.Compression.STREAM,
            stream_bytes=0,
        )
        return port.Record(
            topic=port.EVENTS,
            partition=0,
            offset=offset,
            append_time_microseconds=int((time.time() - (100 - offset) * DAY) * 1e6),
            value=b"",
            headers=header.to_headers(),
            producer="",
            sequence=0,
        )


@pytest.mark.parametrize(
    ("finished", "events"), [(5, 0), (4, 70), (2, 120), (1, 130), (0, 125)], ids=["nothing", "one", "three", "four", "beyond"]
)
async def test_blocks_are_counted_and_beyond_a_few_taken_to_be_alike(finished, events):
    """Catches blocks counted as events, finished ones counted, and a guess where nothing needs one."""
    found, _ = await lag.measured(Log([50, 10, 20, 30, 70]), {0: finished}, of_blocks=True)
    assert found == (events if finished else round((50 + 10 + 20 + 30) * 5 / 4))


async def test_a_look_at_a_long_backlog_reads_a_few_blocks():
    """Catches a look that reads everything unread, which from Kafka costs more than the lane's work on it."""
    log = Log([10] * 5_000)
    found, oldest = await lag.measured(log, {0: 100}, of_blocks=True)
    assert (found, log.looked) == (49_000, 4)
    assert oldest == pytest.approx(0, abs=DAY / 2)


async def test_where_each_offset_is_an_event_offsets_are_counted():
    """Catches a run of records taken for a block: its events would be counted once for each record."""
    log = Log([1_000] * 200)
    found, _ = await lag.measured(log, {0: 50}, of_blocks=False)
    assert (found, log.looked) == (150, 1)


async def test_the_age_is_that_of_the_oldest_unfinished_block():
    """Catches the age of the newest, or of one that is finished."""
    _, oldest = await lag.measured(Log([1] * 90), {0: 40}, of_blocks=True)
    assert oldest == pytest.approx(60 * DAY, abs=DAY / 2)


@pytest.mark.parametrize(("damaged", "events"), [(range(40, 41), 50 * 7), (range(40, 50), 50)], ids=["one", "many"])
async def test_damaged_blocks_are_behind_as_well(damaged, events):
    """Catches a lane that seems to have nothing to do because what it is stuck at can't be read."""
    found, _ = await lag.measured(Log([7] * 90, damaged=damaged), {0: 40}, of_blocks=True)
    assert found == events
