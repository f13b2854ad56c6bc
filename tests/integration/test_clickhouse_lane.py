"""A lane into the real ClickHouse engine: each row once through every kill, bad rows found, faults told apart."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import random
from typing import Any

import pytest
from tests.integration import clickhouse_lane, lane_run, running, test_replay
from tests.servers import clickhouse

from penstock.batcher import lane as batcher_lane
from penstock.core import breaker, deadletters, delivery, ledger, results


class Target:
    """The table `clicks` in a database of the test's own."""

    def __init__(self, server: clickhouse.ClickHouse, database: str) -> None:
        self.server, self.database = server, database
        self.query(clickhouse_lane.TABLE)

    def query(self, sql: str) -> str:
        return self.server.query(sql, self.database)

    def pipeline(self, **told: Any) -> str:
        return clickhouse_lane.pipeline(self.server.url, self.database, **told)

    def rows(self) -> list[tuple[str, int]]:
        found = self.query("SELECT id, num FROM clicks ORDER BY id, num").splitlines()
        return [(line.split("\t")[0], int(line.split("\t")[1])) for line in found]


@pytest.fixture
def target(clickhouse_server: clickhouse.ClickHouse, clickhouse_database: str) -> Target:
    return Target(clickhouse_server, clickhouse_database)


def _events(start: int, count: int, bad: frozenset[int] = frozenset()) -> list[dict[str, object]]:
    return [
        {**event, "kind": clickhouse_lane.BAD if start + at in bad else str(at)}
        for at, event in enumerate(lane_run.events(start, count))
    ]


def _wanted(start: int, count: int, bad: frozenset[int] = frozenset()) -> list[tuple[object, ...]]:
    return sorted((f"e{number}", number) for number in range(start, start + count) if number not in bad)


async def test_rows_land_once_and_the_lane_says_why(target: Target, tmp_path: pathlib.Path) -> None:
    """Catches the plain case being wrong, and plans that outlive what they were for."""
    async with clickhouse_lane.opened(tmp_path, target.pipeline()).opened() as run:
        for start in range(0, 100, 10):
            await run.append(*_events(start, 10))
        async with run.lane() as lane:
            totals = await lane_run.drained(lane)
            assert lane.delivery is not None
            assert lane.delivery.identity_reason == "InsertToken: non_replicated_deduplication_window = 10,000"
        assert (totals.read, totals.written) == (100, 100)
        offset, metadata = await run.committed()
        assert (offset, metadata.plans) == (10, "")
    assert target.rows() == _wanted(0, 100)


KILLS = (
    "lane.dispatched=kill@2",
    "lane.planned=kill@1",
    "lane.planned=kill@3",
    "clickhouse.answered=kill@1",
    "clickhouse.answered=kill@3",
    "lane.answered=kill@3",
    "lane.bisecting=kill@4",
    "lane.lettered=kill@1",
    "lane.committing=kill@4",
    "lane.committed=kill@4",
)


@pytest.mark.parametrize("orders", KILLS)
async def test_killed_at(orders: str, target: Target, tmp_path: pathlib.Path) -> None:
    """Catches a write before its plan, a retry in other pieces, a split that is not committed, and letters that a retry lands.

    The process after it makes batches of another size, and there are more events by then.
    """
    bad = frozenset({13, 14, 37})
    async with clickhouse_lane.opened(tmp_path, target.pipeline()).opened() as run:
        for start in range(0, 50, 5):
            await run.append(*_events(start, 5, bad))
    assert clickhouse_lane.killed(tmp_path, target.server.url, target.database, orders) == -9
    after = clickhouse_lane.opened(tmp_path, target.pipeline(rows=7))
    after._producer = "after"
    async with after.opened() as run:
        await run.append(*_events(50, 5))
        async with run.lane() as lane:
            totals = await lane_run.drained(lane)
        assert sorted(letter.original for letter in await run.letters()) == sorted(
            b'{"id":"e%d","num":%d,"kind":"not a number"}' % (number, number) for number in bad
        )
    assert target.rows() == _wanted(0, 55, bad)
    assert (totals.read, totals.written, totals.dead_lettered_rows) == (55, 52, 3)


@pytest.mark.parametrize("orders", ["lane.bisecting=kill@3", "lane.lettered=kill@1"])
async def test_a_table_that_is_mended_between_kill_and_retry_takes_each_event_once(
    orders: str, target: Target, tmp_path: pathlib.Path
) -> None:
    """Catches a split that is only known to the process that made it: the whole would land beside its halves; and a row that
    lands although it has its letter."""
    bad = frozenset({8, 9, 20})
    async with clickhouse_lane.opened(tmp_path, target.pipeline()).opened() as run:
        for start in range(0, 30, 5):
            await run.append(*_events(start, 5, bad))
    assert clickhouse_lane.killed(tmp_path, target.server.url, target.database, orders) == -9
    target.query("ALTER TABLE clicks MODIFY COLUMN kind String")
    async with clickhouse_lane.opened(tmp_path, target.pipeline()).opened() as run:
        async with run.lane() as lane:
            totals = await lane_run.drained(lane)
        refused = frozenset(letter.offset * 5 + letter.ordinal for letter in await run.letters())
    assert target.rows() == _wanted(0, 30, refused)
    assert (totals.read, totals.written, totals.dead_lettered_rows) == (30, 30 - len(refused), len(refused))


async def test_the_same_plan_twice_lands_once_and_another_cut_would_double(target: Target, tmp_path: pathlib.Path) -> None:
    """Catches a token that is not the same for the same rows; the second half shows what plans are for."""
    async with clickhouse_lane.opened(tmp_path, target.pipeline()).opened() as run:
        await run.append(*_events(0, 20))
        run.store.always = lambda batch: lane_run.fail(results.ResultClass.OUTAGE)(batch)
        async with run.lane() as lane:
            await lane_run.until(lambda: bool(run.store.batches))
            await lane.commit()
            offset, planned = await run.committed()
        assert planned.plans
        run.store.always = lambda _: None
        for metadata in (planned, planned, ledger.LaneMetadata()):
            await run.rewind(offset, metadata)
            async with run.lane() as lane:
                await lane_run.drained(lane)
            if metadata.plans:
                assert target.rows() == _wanted(0, 20)
            run.settings = dataclasses.replace(
                run.settings,
                write_model=dataclasses.replace(run.settings.write_model, target_rows=7),
                limits=dataclasses.replace(run.settings.limits, rows=7),
            )
    assert len(target.rows()) > 20


@pytest.mark.parametrize("seed", range(3))
async def test_bad_rows_at_random_places_are_dead_lettered_and_their_neighbours_land_once(
    seed: int, target: Target, tmp_path: pathlib.Path
) -> None:
    """Catches a search that lands a half twice, or gives up a row that was never refused alone."""
    bad = frozenset(random.Random(seed).sample(range(200), 6))
    async with clickhouse_lane.opened(tmp_path, target.pipeline(rows=40)).opened() as run:
        for start in range(0, 200, 50):
            await run.append(*_events(start, 50, bad))
        async with run.lane() as lane:
            totals = await lane_run.drained(lane)
        letters = await run.letters()
    assert target.rows() == _wanted(0, 200, bad)
    assert {(letter.offset * 50 + letter.ordinal, letter.category, letter.code) for letter in letters} == {
        (number, deadletters.Category.SINK_REJECTED, "CANNOT_PARSE_TEXT") for number in bad
    }
    assert (totals.written, totals.dead_lettered_rows) == (194, 6)


async def test_letters_of_a_mended_table_are_replayed_and_land_once(target: Target, tmp_path: pathlib.Path) -> None:
    """Catches a replay without plans of its own, and one whose tokens are those of the rows that were refused."""
    bad = frozenset({3, 7})
    async with clickhouse_lane.opened(tmp_path, target.pipeline()).opened() as run:
        await run.append(*_events(0, 10, bad))
        async with run.lane() as lane:
            await lane_run.drained(lane)
        target.query("ALTER TABLE clicks MODIFY COLUMN kind String")
        async with run.lane() as lane:
            await test_replay.replayed(run)
            await lane_run.until(lambda: lane.replay_log.accounts.totals().written == len(bad))
            await lane_run.drained(lane)
    assert target.rows() == _wanted(0, 10)


async def test_a_window_too_small_is_said_with_the_statement_that_mends_it(target: Target, tmp_path: pathlib.Path) -> None:
    """Catches a promise that the table can't keep; and a lane that refuses to run for want of it."""
    target.query("ALTER TABLE clicks MODIFY SETTING non_replicated_deduplication_window = 100")
    async with clickhouse_lane.opened(tmp_path, target.pipeline()).opened() as run:
        await run.append(*_events(0, 10))
        async with run.lane() as lane:
            assert lane.delivery is not None
            said = lane.delivery.identity_reason
            await lane_run.drained(lane)
        assert target.rows() == _wanted(0, 10)
        target.query(said[said.index("ALTER TABLE") :])
        async with run.lane() as lane:
            assert lane.delivery.identity_reason.startswith("InsertToken")


async def test_an_edit_while_batches_are_planned_lands_them_by_the_new_revision_and_says_so(
    target: Target, tmp_path: pathlib.Path
) -> None:
    """Catches rows of one revision under the token of another, which the server would drop."""
    async with clickhouse_lane.opened(tmp_path, target.pipeline()).opened() as run:
        await run.append(*_events(0, 20))
        run.store.always = lane_run.fail(results.ResultClass.OUTAGE)
        async with run.lane() as lane:
            await lane_run.until(lambda: bool(run.store.batches))
            await lane.commit()
    edited = {"select": [{"name": "id"}, {"name": "num", "value": "num + 1000"}, {"name": "kind"}]}
    async with clickhouse_lane.opened(tmp_path, target.pipeline(transform=edited)).opened() as run, run.lane() as lane:
        await lane_run.drained(lane)
        assert lane.delivery is not None
        assert "may stand in the store twice" in lane.delivery.identity_reason
    assert target.rows() == sorted((f"e{number}", number + 1000) for number in range(20))


async def test_a_server_that_is_away_is_waited_for(target: Target, tmp_path: pathlib.Path) -> None:
    """Catches an outage that makes letters, and a plan that is gone when the server is back."""
    async with clickhouse_lane.opened(tmp_path, target.pipeline()).opened() as run, run.lane() as lane:
        await run.append(*_events(0, 10))
        await lane_run.until(lambda: lane.accounts.totals().written == 10)
        target.server.server.kill()
        try:
            await run.append(*_events(10, 30))
            await lane_run.until(lambda: lane.circuit.state is breaker.State.OPEN)
        finally:
            target.server.server.start()
        totals = await lane_run.drained(lane)
        assert not await run.letters()
    assert totals.written == 40
    assert target.rows() == _wanted(0, 40)


async def test_a_lane_that_has_run_before_starts_while_its_server_is_away(target: Target, tmp_path: pathlib.Path) -> None:
    """Catches a restart during an outage that refuses everybody's events, or that forgets what was planned."""
    async with clickhouse_lane.opened(tmp_path, target.pipeline()).opened() as run:
        target.server.server.kill()
        try:
            with pytest.raises(delivery.WriteFailedError):
                async with run.lane():
                    pass
        finally:
            target.server.server.start()
        await run.append(*_events(0, 10))
        async with run.lane() as lane:
            await lane_run.drained(lane)
        target.server.server.kill()
        async with contextlib.AsyncExitStack() as stack:
            try:
                lane = await stack.enter_async_context(run.lane())
                assert lane.state is batcher_lane.State.STARTING
                await run.append(*_events(10, 10))
            finally:
                target.server.server.start()
            await lane_run.until(lambda: lane.state is batcher_lane.State.RUNNING)
            await lane_run.drained(lane)
    assert target.rows() == _wanted(0, 20)


async def test_a_server_that_stalls_gets_each_row_once(target: Target, tmp_path: pathlib.Path) -> None:
    """Catches a write whose answer is lost being sent under another token."""
    async with (
        clickhouse_lane.opened(
            tmp_path, target.pipeline(writeTimeoutSeconds=1, sink_circuitBreaker={"mode": "Disabled"})
        ).opened() as run,
        run.lane() as lane,
    ):
        target.server.server.suspend()
        try:
            await run.append(*_events(0, 30))
            await lane_run.until(lambda: len(run.store.batches) > 2)
        finally:
            target.server.server.resume()
        await lane_run.drained(lane)
    assert target.rows() == _wanted(0, 30)


async def test_a_column_dropped_under_way_halts_the_lane_until_it_is_back(target: Target, tmp_path: pathlib.Path) -> None:
    """Catches a wrong table being taken for wrong rows."""
    async with clickhouse_lane.opened(tmp_path, target.pipeline()).opened() as run:
        async with run.lane() as lane:
            await run.append(*_events(0, 10))
            await lane_run.until(lambda: lane.accounts.totals().written == 10)
            target.query("ALTER TABLE clicks DROP COLUMN kind")
            await run.append(*_events(10, 10))
            await lane_run.until(lambda: lane.failure is not None)
            assert lane.failure.code in {"TABLE_MISMATCH", "NO_SUCH_COLUMN_IN_TABLE"}
        assert not await run.letters()
        target.query("ALTER TABLE clicks ADD COLUMN kind Int32")
        async with run.lane() as lane:
            await lane_run.drained(lane)
    assert target.rows() == _wanted(0, 20)


def test_one_machine_lands_in_it_through_a_kill_with_credentials_from_the_environment(
    target: Target, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a sink that only the tests can open, and a restart that lands rows again."""
    monkeypatch.setenv("PENSTOCK_SECRET_CH_USERNAME", clickhouse.USER)
    monkeypatch.setenv("PENSTOCK_SECRET_CH_PASSWORD", clickhouse.PASSWORD)
    monkeypatch.setenv("PENSTOCK_FAILPOINTS", "clickhouse.answered=kill@3")
    with running.Running(tmp_path, target.pipeline()) as run:
        run.start()
        run.send({"id": f"e{number}", "num": number, "kind": "1"} for number in range(100))
        process = run.pipeline.process
        assert process is not None
        assert process.wait(timeout=running.PATIENCE_SECONDS) == -9
        monkeypatch.delenv("PENSTOCK_FAILPOINTS")
        status = run.start().settled()
        delivered = status.lanes[0].delivery
        assert (delivered.mode, delivered.reason.split(":")[0]) == ("EffectivelyOnce", "InsertToken")
        assert clickhouse.PASSWORD not in run.said
    assert target.rows() == _wanted(0, 100)
