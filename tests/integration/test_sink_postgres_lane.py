"""A whole lane into Postgres: dead letters, late versions, and a crash between the write and the commit."""

from __future__ import annotations

import pathlib
import urllib.parse

import pytest
from tests.integration import lane_run, pg, test_replay

from penstock.core import ledger
from penstock.sinks import registry


def settings(dsn, **told):
    at = urllib.parse.urlsplit(dsn)
    return {"host": at.hostname, "port": at.port, "database": at.path[1:], "table": "clicks", **told}


def opened(tmp_path, dsn, *, select=("id", "num"), schema=None, **postgres):
    """A run into table clicks of the database."""
    secret = {"type": "Basic", "secretRef": {"name": "pg"}}
    text = lane_run.pipeline(
        sink_type="Postgres",
        sink_postgres=settings(dsn, authentication=secret, **postgres),
        sink_duckDB=None,
        sink_tablePolicy="CreateIfMissing",
        transform={"select": [{"name": name} for name in select]},
        **({"schema": schema} if schema else {}),
    )

    def store(sink, path: pathlib.Path):
        return registry.open_writer(
            sink, directory=path, secrets=lambda name, key: {"username": "postgres", "password": "x"}[key]
        )

    return lane_run.LaneRun(tmp_path, text, open_store=store)


async def rows(dsn, sql="SELECT id, num FROM clicks"):
    return sorted(await pg.run(dsn, sql))


async def test_events_land_and_a_refused_row_becomes_a_dead_letter(tmp_path, postgres_dsn):
    """Catches a neighbour lost with a bad row, and a ledger that does not add up."""
    await pg.run(postgres_dsn, "CREATE TABLE clicks (id text PRIMARY KEY, num bigint CHECK (num <> 7));")
    async with opened(tmp_path, postgres_dsn).opened() as run, run.lane() as lane:
        for start in range(0, 40, 5):
            await run.append(*lane_run.events(start, 5))
        totals = await lane_run.drained(lane)
        assert (totals.written, totals.dead_lettered_rows) == (39, 1)
        (letter,) = await run.letters()
        assert "check constraint" in letter.message
    assert await rows(postgres_dsn) == [row for row in lane_run.wanted(0, 40) if row[1] != 7]


async def test_after_a_crash_before_the_commit_everything_is_trimmed(tmp_path, postgres_dsn):
    """Catches rows that land again when their offset was not committed, and rows that are counted twice."""
    run = opened(tmp_path, postgres_dsn)
    async with run.opened():
        async with run.lane() as lane:
            for start in range(0, 20, 5):
                await run.append(*lane_run.events(start, 5))
            await lane_run.drained(lane)
        await run.rewind(1, ledger.LaneMetadata())
        async with run.lane() as lane:
            await run.append(*lane_run.events(20, 5))
            assert (await lane_run.drained(lane)).written == 20
    assert await rows(postgres_dsn) == lane_run.wanted(0, 25)


@pytest.mark.parametrize("version", [None, "num"])
async def test_the_latest_event_of_a_key_stands_in_the_table(tmp_path, postgres_dsn, version):
    """Catches addresses that do not reach the sink, batches that overtake each other, and retries that go back in time."""
    told = {"versionColumn": version} if version else {}
    run = opened(tmp_path, postgres_dsn, write="Upsert", key=["id"], **told)
    async with run.opened(), run.lane() as lane:
        for number in range(12):
            await run.append(*({"id": f"k{key}", "num": number} for key in range(5)))
        await run.append({"id": "k0", "num": 3})
        totals = await lane_run.drained(lane)
        assert totals.written == 61
    late = 11 if version else 3
    assert await rows(postgres_dsn) == [("k0", late), *((f"k{key}", 11) for key in range(1, 5))]


async def test_a_replayed_row_does_not_win_over_one_that_is_later_in_the_log(tmp_path, postgres_dsn):
    """Catches a replay that is compared by its place in the replay log: each old row would win over all that came since."""
    run = opened(tmp_path, postgres_dsn, write="Upsert", key=["id"])
    async with run.opened():
        async with run.lane() as lane:
            run.store.plan.append(test_replay.refuse("late", "early"))
            await run.append({"id": "late", "num": 1}, {"id": "early", "num": 2}, {"id": "other", "num": 3})
            await lane_run.until(lambda: lane.accounts.totals().written == 1)
            await run.append({"id": "late", "num": 4})
            await lane_run.drained(lane)
        async with run.lane():
            assert (await test_replay.replayed(run)).landed == 2
    assert await rows(postgres_dsn) == [("early", 2), ("late", 4), ("other", 3)]
