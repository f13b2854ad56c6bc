"""The Postgres sink on a real server: each row once, whatever writes at the same time and whoever dies of it."""

from __future__ import annotations

import asyncio
import os
import pathlib
import signal
import subprocess
import sys

import asyncpg
import pyarrow as pa
import pytest
from tests.integration import lane_run, pg, pg_child
from tests.unit.sinks import writes

from penstock.core import results
from penstock.sinks import port

REPOSITORY = pathlib.Path(__file__).parents[2]


async def test_rows_land_and_a_retry_hears_that_they_have(postgres_dsn):
    """Catches a store that writes a range twice, or one that forgets over a new process what has landed."""
    batch = writes.batch(writes.numbered(0, 4), writes.span(0, 4))
    for expected in (4, 0, 0):
        async with pg.opened(postgres_dsn) as sink:
            await sink.describe(batch.lane, "clicks", pg.SCHEMA)
            answer = await sink.write(batch)
            assert answer.written == expected
            assert list(answer.already_landed) == ([] if expected else [writes.span(0, 4)])
    assert await pg.landed_ids(postgres_dsn) == [0, 1, 2, 3]


async def test_a_write_that_overlaps_lands_nothing_and_names_the_common_part(postgres_dsn):
    """Catches a store that writes the rest by itself: the batcher would count what was skipped as new."""
    async with pg.opened(postgres_dsn) as sink:
        await sink.describe(writes.LANE, "clicks", pg.SCHEMA)
        await sink.write(writes.batch(writes.numbered(2, 4), writes.span(2, 4)))
        answer = await sink.write(writes.batch(writes.numbered(0, 6), writes.span(0, 3), writes.span(3, 6)))
        assert (answer.written, list(answer.already_landed)) == (0, [writes.span(2, 4)])
    assert await pg.landed_ids(postgres_dsn) == [2, 3]


STEPS = ["copied", "locked", "inserted", "journalled", "committed"]


def child(dsn, start, end, step="", nth=1, sent="KILL"):
    """The process of `pg_child`, started."""
    path = os.pathsep.join((str(REPOSITORY / "services"), str(REPOSITORY)))
    return subprocess.Popen(
        [sys.executable, "-m", "tests.integration.pg_child", dsn, str(start), str(end), step, str(nth), sent],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


async def all_rows_once(dsn, blocks):
    assert await pg.landed_ids(dsn) == list(range(blocks * pg_child.ROWS_PER_BLOCK))


@pytest.mark.parametrize("step", STEPS)
async def test_killed_at_any_step_each_row_lands_exactly_once(postgres_dsn, step):
    """Catches rows without their range, and a range without its rows."""
    out, err = child(postgres_dsn, 0, 4, step, 3).communicate(timeout=60)
    assert out.splitlines() == ["0", "1"], err
    # What was answered was not committed: the successor sends all of it again.
    await pg_child.write_blocks(postgres_dsn, 0, 4)
    await all_rows_once(postgres_dsn, 4)


@pytest.mark.parametrize("step", STEPS[:4])
async def test_a_process_that_was_suspended_lands_nothing_when_it_wakes_up(postgres_dsn, step):
    """Catches a zombie whose transaction commits after its successor has landed the same rows, and one that never lets go."""
    zombie = child(postgres_dsn, 0, 3, step, 2, "STOP")
    try:
        assert zombie.stdout.readline() == "0\n"
        await _stopped(zombie.pid)
        if step == "copied":
            # It holds no lock: the successor goes on at once, and the zombie finds out.
            await pg_child.write_blocks(postgres_dsn, 0, 3)
            zombie.send_signal(signal.SIGCONT)
            out, err = zombie.communicate(timeout=30)
            assert out.splitlines() == ["1", "2"], err
        else:
            await _while_it_is_held(postgres_dsn, zombie)
        await all_rows_once(postgres_dsn, 3)
    finally:
        zombie.kill()
        zombie.communicate()


async def _while_it_is_held(dsn, zombie):
    """The successor waits for the lock and says pressure; awake again, the zombie lands, and the successor trims."""
    async with pg.opened(dsn, timeout_seconds=1.0) as sink:
        await sink.describe(writes.LANE, "clicks", pg.SCHEMA)
        with pytest.raises(port.SinkError) as caught:
            await sink.write(writes.batch(writes.numbered(3, 6), writes.span(1, 2)))
        assert caught.value.failure.result_class is results.ResultClass.PRESSURE
    zombie.send_signal(signal.SIGCONT)
    await pg_child.write_blocks(dsn, 0, 3)
    zombie.communicate(timeout=30)


async def test_the_server_ends_a_transaction_that_its_process_has_forgotten(postgres_dsn):
    """Catches a lock that is held for as long as a suspended machine keeps its connection."""
    async with pg.opened(postgres_dsn, timeout_seconds=1.0) as forgetful, pg.opened(postgres_dsn) as sink:
        await sink.describe(writes.LANE, "clicks", pg.SCHEMA)
        held = await forgetful._server.connect(1.0)
        await held.execute("BEGIN; SET LOCAL lock_timeout = 0")
        await forgetful._journal.lock(held, writes.batch(writes.numbered(0, 3), writes.span(0, 1)))
        await pg_child.land(sink, 0, 1)
        held.terminate()
    await all_rows_once(postgres_dsn, 1)


async def test_two_processes_that_write_the_same_ranges_land_each_once(postgres_dsn):
    """Catches a check of what has landed that is made before the lock is held."""
    sinks = [child(postgres_dsn, 0, 40) for _ in range(3)]
    for process in sinks:
        out, err = process.communicate(timeout=60)
        assert len(out.splitlines()) == 40, err
    await all_rows_once(postgres_dsn, 40)


async def test_writers_of_different_partitions_do_not_wait_for_each_other(postgres_dsn):
    """Catches one lock for a whole lane."""
    connection = await asyncpg.connect(postgres_dsn)
    async with pg.opened(postgres_dsn, timeout_seconds=2.0) as sink:
        await sink.describe(writes.LANE, "clicks", pg.SCHEMA)
        await pg_child.land(sink, 0, 1)
        async with connection.transaction():
            await connection.execute("SELECT FROM penstock.landed WHERE partition = 0 FOR UPDATE")
            await asyncio.gather(*(pg_child.land(sink, 0, 1, partition) for partition in range(1, 6)))
            with pytest.raises(port.SinkError):
                await pg_child.land(sink, 1, 2)
    await connection.close()


async def test_many_writes_at_once_over_several_partitions_land_each_row_once(postgres_dsn):
    """Catches locks that are taken in the order of the ranges: two batches would wait for each other."""
    async with pg.opened(postgres_dsn) as sink:
        await sink.describe(writes.LANE, "clicks", pg.SCHEMA)

        async def both(offset, order):
            ranges = [writes.span(offset, offset + 1, partition=partition) for partition in order]
            rows = pa.concat_tables([writes.numbered(1_000 * p + offset, 1_000 * p + offset + 1) for p in order])
            assert (await sink.write(writes.batch(rows, *ranges))).written == 2

        await asyncio.gather(*(both(offset, (0, 1) if offset % 2 else (1, 0)) for offset in range(60)))
    assert await pg.landed_ids(postgres_dsn) == [*range(60), *range(1_000, 1_060)]


async def test_below_the_watermark_everything_has_landed_in_one_stretch(postgres_dsn):
    """Catches a zombie whose rows were dead-lettered by its successor, and a journal that keeps every gap."""
    async with pg.opened(postgres_dsn) as sink:
        await sink.describe(writes.LANE, "clicks", pg.SCHEMA)
        for offset in (1, 3, 5):
            await sink.write(writes.batch(writes.numbered(offset, offset + 1), writes.span(offset, offset + 1)))
        await sink.write(writes.batch(writes.numbered(9, 10), writes.span(9, 10), finished_below=8))
        late = await sink.write(writes.batch(writes.numbered(4, 5), writes.span(4, 5)))
        assert list(late.already_landed) == [writes.span(4, 5)]
    assert await pg.run(postgres_dsn, "SELECT stretches FROM penstock.landed") == [([0, 0, 0, 8, 0, 0, 9, 0, 0, 10, 0, 0],)]


async def test_other_lanes_tables_logs_and_partitions_are_other_ranges(postgres_dsn):
    """Catches a log that was recreated and starts again at offset 0, taken for what has landed."""
    rows = writes.numbered(0, 1)
    async with pg.opened(postgres_dsn) as sink:
        for table in ("clicks", "other"):
            await sink.describe(writes.LANE, table, pg.SCHEMA)
        batches = [
            writes.batch(rows, writes.span(0, 1)),
            writes.batch(rows, writes.span(0, 1, log_id="recreated")),
            writes.batch(rows, writes.span(0, 1, partition=1)),
            writes.batch(rows, writes.span(0, 1), lane="other/clicks/warehouse"),
            writes.batch(rows, writes.span(0, 1), table="other"),
        ]
        assert [(await sink.write(batch)).written for batch in batches] == [1] * 5


async def test_lanes_that_are_gone_for_a_year_are_forgotten(postgres_dsn):
    """Catches state of removed pipelines that stays for ever, and an own lane's state that goes."""
    async with pg.opened(postgres_dsn) as sink:
        await sink.describe(writes.LANE, "clicks", pg.SCHEMA)
        for lane in (writes.LANE, "gone", "living"):
            await sink.write(writes.batch(writes.numbered(0, 1), writes.span(0, 1), lane=lane))
        await pg.run(postgres_dsn, "UPDATE penstock.landed SET touched_at = now() - interval '2 years' WHERE lane <> 'living';")
        await sink.describe(writes.LANE, "clicks", pg.SCHEMA)
    assert await pg.run(postgres_dsn, "SELECT lane FROM penstock.landed ORDER BY lane") == [("living",), (writes.LANE,)]


async def _stopped(pid):
    state = pathlib.Path(f"/proc/{pid}/stat")
    await lane_run.until(lambda: state.read_text().rpartition(")")[2].split()[0] == "T")
