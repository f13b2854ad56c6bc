"""`penstock skip` and `penstock lane drop` as a person meets them: on a running pipeline, and when nothing runs."""

from __future__ import annotations

import contextlib
import pathlib
import sqlite3
from typing import Any

from tests.integration import running

from penstock.api import load
from penstock.log import port
from penstock.log.embedded import front as embedded
from penstock.machine import directory, lanes, memory, retention, retired

ONE_PARTITION = {"type": "Embedded", "embedded": {"partitions": 1}}


def _changed(**spec: Any) -> str:
    return running.changed(log=ONE_PARTITION, **spec)


def _damage(log: pathlib.Path) -> None:
    with contextlib.closing(sqlite3.connect(log)) as connection, connection:
        (newest,) = connection.execute(
            "SELECT max(value_id) FROM record JOIN partition ON partition.id = partition_id WHERE topic = 'events'"
        ).fetchone()
        connection.execute("UPDATE value SET content = zeroblob(length(content)) WHERE id = ?", (newest,))


def test_a_halted_lane_is_told_to_go_on_while_it_runs_and_when_nothing_does(tmp_path: pathlib.Path) -> None:
    """Two sinks stuck at one block: one is told while the pipeline runs, the other after it has ended.

    Catches a skip that happens without --yes, one that needs a restart, and a loss that nothing shows.
    """
    with running.Running(tmp_path, _changed()) as run:
        run.start()
        data = ["--data", str(run.pipeline.data.path)]
        run.send(running.event(number) for number in range(20))
        run.settled()
        run.command("pause", *data)
        run.send(running.event(number) for number in range(20, 30))
        run.pipeline.kill()
        _damage(run.pipeline.data.log_path)
        run.start()
        run.send(running.event(number) for number in range(30, 40))
        states = {lane.sink: lane for lane in running.until(lambda: _halted(run), run.pipeline.log_tail)}
        assert "penstock skip" in states["warehouse"].message

        shown, done = running.commands(run.path, [["skip", "warehouse", *data], ["skip", "warehouse", "--yes", *data]])
        assert (shown.code, "would skip offsets 1 to 1 (1 blocks)" in shown.out, "10 events" in shown.out) == (0, True, True)
        assert "DamagedLog" in shown.out
        assert (done.code, "skipped offsets 1 to 1" in done.out) == (0, True), done
        running.until(lambda: True if run.landed("SELECT count(DISTINCT id) FROM orders")[0][0] == 30 else None)
        lane = next(one for one in run.pipeline.status().lanes if one.sink == "warehouse")
        assert (lane.state, lane.ledger.events_lost, lane.ledger.unexplained) == ("Running", 10, 0)
        looks = [["top", "--once", "--every", "0.05", *data], ["skip", "warehouse", "--yes", *data]]
        seen, refused = running.commands(run.path, looks)
        assert "10 events are lost" in seen.out
        assert (refused.code, "only a halted lane" in refused.err) == (1, True)

        run.pipeline.kill()
        done = run.command("skip", "archive", "--yes", *data)
        assert (done.code, "skipped offsets 1 to 1" in done.out) == (0, True), done
        run.start()
        running.until(lambda: _nothing_unread(run), run.pipeline.log_tail)
        assert [lane.ledger.events_lost for lane in run.pipeline.status().lanes] == [10, 10]


def _halted(run: running.Running) -> Any:
    lanes = run.pipeline.status().lanes
    return lanes if all(lane.state == "Halted" for lane in lanes) else None


def _nothing_unread(run: running.Running) -> bool | None:
    status = run.pipeline.status()
    return True if status and not any(lane.lag.events or lane.state != "Running" for lane in status.lanes) else None


def test_the_lane_of_a_removed_sink_is_shown_until_it_is_dropped(tmp_path: pathlib.Path) -> None:
    """Catches a removal nobody hears of, a drop of a sink that is still there, and one that takes the log along."""
    with running.Running(tmp_path, _changed()) as run:
        run.start()
        data = ["--data", str(run.pipeline.data.path)]
        run.command("pause", "archive", *data)
        run.send(running.event(number) for number in range(20))
        refused = run.command("lane", "drop", "archive", *data)
        assert (refused.code, "remove it from spec.sinks" in refused.err) == (1, True)
        run.pipeline.kill()
        run.start(_changed(sinks=running.only_warehouse()))
        run.settled()
        (left,) = run.pipeline.status().retired
        assert (left.sink, left.events) == ("archive", 20)
        drop = ["lane", "drop", "archive", *data]
        seen, shown, done = running.commands(run.path, [["top", "--once", "--every", "0.05", *data], drop, [*drop, "--yes"]])
        assert "archive was removed" in seen.out
        assert (shown.code, "would drop" in shown.out, "20 events" in shown.out) == (0, True, True)
        assert (done.code, "dropped the lane" in done.out) == (0, True)
        assert not run.pipeline.status().retired
        assert "lane_dropped" in run.said
        # Back again, before anything was trimmed: it goes on where it was.
        run.pipeline.kill()
        run.start(_changed())
        run.settled()
        assert sorted(set(run.archived().column("id").to_pylist())) == sorted(
            {f"e{number}" for number in range(20) if number % 4}
        )


async def test_a_retired_lane_holds_the_log_for_a_day_and_meets_the_gap_when_it_comes_back(tmp_path: pathlib.Path) -> None:
    """Catches unread events that go at once, ones that are held for ever, and a return that begins elsewhere in silence."""
    data = directory.DataDirectory(tmp_path / "data")
    data.create()
    both = load.load_one(_changed())
    alone = load.load_one(_changed(sinks=running.only_warehouse()))
    log = await embedded.EmbeddedLog.open(data.log_path, partitions=1)
    clock = [1_000_000.0]
    try:
        for sequence in range(3):
            await log.append(port.EVENTS, 0, port.NewRecord(value=b"v", headers={}, producer="p", sequence=sequence))
        groups = {sink.name: lanes.lane_for(both, sink).lane for sink in both.spec.sinks}
        for name, offset in (("warehouse", 3), ("archive", 1)):
            subscription = await log.subscribe(port.EVENTS, groups[name], _Nobody())
            await subscription.commit({0: port.Commit(offset=offset)})
            await subscription.close()
        data.pin(both, tmp_path)
        held = retired.Retired(memory.InDirectory(data), alone, log, now=lambda: clock[0])
        await held.note()
        await held.note()

        async def trimmed() -> int:
            await held.expire()
            await retention.trim(log, [groups["warehouse"], *await held.groups()], keep_seconds=-60.0, window_seconds=-60.0)
            return (await log.bounds(port.EVENTS, 0)).start

        assert await trimmed() == 1
        clock[0] += retired.HELD_SECONDS - 1
        assert await trimmed() == 1
        clock[0] += 2
        assert await trimmed() == 3
        assert not await held.groups()
        # The commit stays at 1, so that the sink's return is a gap: see test_a_gap_is_skipped_by_its_blocks.
        assert (await log.committed(port.EVENTS, groups["archive"]))[0].offset == 1
        data.pin(alone, tmp_path)
        back = retired.Retired(memory.InDirectory(data), both, log)
        await back.note()
        assert not await back.groups()
    finally:
        await log.close()


class _Nobody:
    async def on_assigned(self, commits: object) -> None: ...

    async def on_revoked(self, partitions: object) -> None: ...


def test_a_query_finds_the_store_from_any_folder(tmp_path: pathlib.Path) -> None:
    """Catches a relative path that begins where the question is asked and not where the pipeline ran."""
    with running.Running(tmp_path / "here", _changed(sinks=running.only_warehouse())) as run:
        run.start()
        run.send([running.event(1)])
        run.settled()
        run.pipeline.stop()
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        asked = running.command(
            elsewhere, "query", "SELECT count(*) AS n FROM orders", "--data", str(run.pipeline.data.path.absolute()), "-o", "csv"
        )
        assert (asked.code, asked.out.split()) == (0, ["n", "1"]), asked
