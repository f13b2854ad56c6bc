"""Postgres upserts: the greater version stands at the end, in whatever order and however often rows come."""

from __future__ import annotations

import asyncio
import itertools
import random
import uuid

import pyarrow as pa
import pytest
from tests.integration import pg
from tests.unit.sinks import writes

from penstock.core import delivery
from penstock.sinks import port, tables

BY_VERSION, BY_ADDRESS = pg.upsert("id", version="version"), pg.upsert("id")


@pytest.fixture(scope="module")
def shared_dsn(postgres_server):
    return postgres_server.createdb(f"t{uuid.uuid4().hex}")


@pytest.fixture
async def postgres_dsn(shared_dsn):
    """Emptied instead of made anew, which would take longer than most tests here."""
    await pg.emptied(shared_dsn)
    return shared_dsn


def versions(*rows):
    """(id, version, name)."""
    ids, numbers, names = zip(*rows, strict=True)
    return pa.table({"id": pa.array(ids, pa.int64()), "version": pa.array(numbers, pa.int64()), "name": names})


def addressed(*rows, log_id="log"):
    """(id, name, offset, ordinal, item), with the addresses as the batcher sends them."""
    ids, names, offsets, ordinals, items = zip(*rows, strict=True)
    places = [
        pa.array([log_id] * len(rows)),
        pa.array([0] * len(rows), pa.int32()),
        pa.array(offsets, pa.int64()),
        pa.array(ordinals, pa.int32()),
        pa.array(items, pa.int32()),
    ]
    return pa.table([pa.array(ids, pa.int64()), pa.array(names), *places], names=["id", "name", *delivery.ADDRESS_COLUMNS])


async def write(sink, *batches):
    for at, rows in enumerate(batches):
        answer = await sink.write(writes.batch(rows, writes.span(at, at + 1)))
        assert answer.written == rows.num_rows, answer


async def described(sink, rows):
    return await sink.describe(
        writes.LANE, "clicks", rows.drop_columns(set(rows.column_names) & set(delivery.ADDRESS_COLUMNS)).schema
    )


async def names(dsn):
    return await pg.run(dsn, "SELECT id, name FROM clicks ORDER BY id")


async def test_a_row_replaces_only_one_whose_version_is_smaller(postgres_dsn):
    """Catches a late event that takes back what a newer one said, and an equal one that replaces."""
    async with pg.opened(postgres_dsn, upsert=BY_VERSION) as sink:
        described_as = await described(sink, versions((0, 0, "")))
        assert described_as.identity is delivery.Identity.ROW_KEY
        await write(sink, versions((1, 5, "five"), (2, 1, "one")), versions((1, 3, "three"), (2, 2, "two")))
        await write(sink, versions((1, 5, "again")), versions((3, None, "none")), versions((3, None, "still none")))
        assert await names(postgres_dsn) == [(1, "five"), (2, "two"), (3, "none")]
        await write(sink, versions((3, 0, "zero")), versions((3, None, "late")))
        assert (await names(postgres_dsn))[2] == (3, "zero")


async def test_within_a_write_a_row_wins_as_if_they_came_one_after_the_other(postgres_dsn):
    """Catches ON CONFLICT meeting one key twice in a statement, which is an error, and a result that depends on the cut."""
    rows = [(1, 2, "a"), (1, 2, "b"), (1, 1, "c"), (2, None, "d"), (2, 0, "e"), (2, None, "f")]
    async with pg.opened(postgres_dsn, upsert=BY_VERSION) as sink:
        await described(sink, versions(rows[0]))
        await write(sink, versions(*rows))
        assert await names(postgres_dsn) == [(1, "a"), (2, "e")]


async def test_without_a_version_column_the_later_address_wins(postgres_dsn):
    """Catches a comparison of text, of offsets alone, or of the order in which writes happen to come."""
    places = [(9, 0, 0), (10, 0, 0), (10, 0, 1), (10, 2, 0), (100, 0, 0)]
    order = list(range(len(places)))
    random.Random(3).shuffle(order)
    async with pg.opened(postgres_dsn, upsert=BY_ADDRESS) as sink:
        await described(sink, addressed((0, "", 0, 0, 0)))
        for at in order:
            await write(sink, addressed((1, f"v{at}", *places[at])))
        await write(sink, addressed(*((2, f"v{at}", *places[at]) for at in order)))
    assert await names(postgres_dsn) == [(1, "v4"), (2, "v4")]


async def test_a_log_that_was_made_anew_comes_after_the_old_one(postgres_dsn):
    """Catches offsets compared across logs: a new log begins at 0, and would never win again."""
    async with pg.opened(postgres_dsn, upsert=BY_ADDRESS) as sink:
        await described(sink, addressed((0, "", 0, 0, 0)))
        await write(sink, addressed((1, "old", 900, 0, 0)), addressed((1, "new", 0, 0, 0), log_id="another"))
        assert await names(postgres_dsn) == [(1, "new")]
    async with pg.opened(postgres_dsn, upsert=BY_ADDRESS) as sink:
        await write(sink, addressed((1, "late", 901, 0, 0)))
        assert await names(postgres_dsn) == [(1, "new")]


async def test_rows_that_were_there_before_are_replaced(postgres_dsn):
    """Catches a comparison with NULL, which is never true."""
    await pg.run(postgres_dsn, "CREATE TABLE clicks (id bigint PRIMARY KEY, name text); INSERT INTO clicks VALUES (1, 'mine');")
    async with pg.opened(postgres_dsn, upsert=BY_ADDRESS, table_policy=tables.TablePolicy.ADD_COLUMNS) as sink:
        await described(sink, addressed((0, "", 0, 0, 0)))
        await write(sink, addressed((1, "ours", 0, 0, 0)))
    assert await names(postgres_dsn) == [(1, "ours")]


async def test_writers_that_meet_on_the_same_keys_never_wait_for_each_other_in_a_circle(postgres_dsn):
    """Catches rows that are locked in the order they come: PostgreSQL would end one of two writers."""
    async with pg.opened(postgres_dsn, upsert=BY_VERSION) as sink:
        await described(sink, versions((0, 0, "")))
        chance = random.Random(5)

        async def batch(number):
            ids = list(range(300))
            chance.shuffle(ids)
            await write(sink, versions(*((id_, number, f"v{number}") for id_ in ids)))

        await asyncio.gather(*map(batch, chance.sample(range(24), 24)))
    assert set(await pg.run(postgres_dsn, "SELECT version, name FROM clicks")) == {(23, "v23")}


async def test_any_order_of_retries_and_late_rows_ends_the_same(postgres_dsn):
    """Catches a retry that changes anything."""
    async with pg.opened(postgres_dsn, upsert=BY_VERSION) as sink:
        await described(sink, versions((0, 0, "")))
        pieces = [versions((1, 1, "a")), versions((1, 3, "c"), (2, 1, "x")), versions((1, 2, "b"))]
        for order in itertools.permutations(pieces):
            await pg.run(postgres_dsn, "TRUNCATE clicks;")
            await write(sink, *order, *order)
            assert await names(postgres_dsn) == [(1, "c"), (2, "x")]


async def test_a_key_of_null_costs_its_row_only(postgres_dsn):
    """Catches a NULL that is unequal to itself, and so a row that is inserted anew with each retry."""
    await pg.run(postgres_dsn, "CREATE TABLE clicks (id bigint UNIQUE, version bigint, name text);")
    async with pg.opened(postgres_dsn, upsert=BY_VERSION) as sink:
        await described(sink, versions((0, 0, "")))
        answer = await sink.write(writes.batch(versions((1, 1, "a"), (None, 1, "b")), writes.span(0, 1)))
        assert [row.row for row in answer.rejected] == [1]


async def test_a_refused_row_costs_its_row_only(postgres_dsn):
    """Catches a search that forgets the key."""
    await pg.run(postgres_dsn, "CREATE TABLE clicks (id bigint PRIMARY KEY, version bigint CHECK (version > 0), name text);")
    async with pg.opened(postgres_dsn, upsert=BY_VERSION) as sink:
        await described(sink, versions((0, 0, "")))
        answer = await sink.write(writes.batch(versions((1, 1, "a"), (2, 0, "b"), (3, 1, "c")), writes.span(0, 1)))
        assert [(row.row, row.code) for row in answer.rejected] == [(1, "23514")]


@pytest.mark.parametrize(
    ("create", "upsert", "says"),
    [
        ("CREATE TABLE clicks (id bigint, version bigint, name text)", BY_VERSION, 'CREATE UNIQUE INDEX ON "clicks" ("id")'),
        ("CREATE TABLE clicks (id bigint PRIMARY KEY, version bigint, name text)", BY_ADDRESS, "ADD COLUMN _penstock_generation"),
        ("CREATE TABLE clicks (id bigint PRIMARY KEY, version bigint, name text)", pg.upsert("no"), 'add "no" to select'),
        (
            "CREATE TABLE clicks (id bigint UNIQUE DEFERRABLE, version bigint, name text)",
            BY_VERSION,
            'nothing makes ("id") unique',
        ),
        (
            "CREATE TABLE clicks (id bigint, version bigint, name text); CREATE UNIQUE INDEX ON clicks (id) WHERE id > 1",
            BY_VERSION,
            'nothing makes ("id") unique',
        ),
    ],
    ids=str,
)
async def test_a_table_that_can_not_be_upserted_into_stops_the_start(postgres_dsn, create, upsert, says):
    """Catches an index that ON CONFLICT can't use, found only with the first row."""
    await pg.run(postgres_dsn, create + ";")
    async with pg.opened(postgres_dsn, upsert=upsert, table_policy=tables.TablePolicy.VERIFY) as sink:
        with pytest.raises(port.SinkError) as caught:
            await described(sink, versions((1, 1, "a")))
    assert says in f"{caught.value.failure.message} {caught.value.failure.remedy}"


async def test_a_write_that_two_processes_send_at_the_same_moment_leaves_each_row_once(postgres_dsn):
    """Catches a second write to another endpoint that dies of the first one's locks, or that inserts what the first has."""
    async with pg.opened(postgres_dsn, upsert=BY_ADDRESS) as one, pg.opened(postgres_dsn, upsert=BY_ADDRESS) as other:
        for number in range(10):
            rows = addressed(*((key, f"n{number}", number, key, 0) for key in range(50)))
            await described(one, rows)
            batch = writes.batch(rows, writes.span(number, number + 1))
            answers = await asyncio.gather(one.write(batch), other.write(batch))
            assert [answer.written for answer in answers] == [50, 50]
    assert await pg.run(postgres_dsn, "SELECT count(*), min(name), max(name) FROM clicks") == [(50, "n9", "n9")]
