"""Records in Avro, with a registry that knows their schemas, is away, or has never heard of them."""

from __future__ import annotations

import asyncio
import io
import json
import struct
from typing import Any

import fastavro
import pytest
from tests.integration import kafka_sink, kafka_source, registry_stub, running, source_run

from penstock.core import selection
from penstock.replay import job, survey

FIRST = {
    "type": "record",
    "name": "order",
    "fields": [{"name": "id", "type": "string"}, {"name": "customer", "type": "int"}],
}
SECOND = {
    "type": "record",
    "name": "order",
    "fields": [
        {"name": "note", "type": ["null", "string"], "default": None},
        {"name": "customer", "type": "long"},
        {"name": "items", "type": {"type": "array", "items": "int"}},
        {"name": "id", "type": "string"},
    ],
}
UNFIT = {"type": "record", "name": "order", "fields": [{"name": "id", "type": "string"}, {"name": "customer", "type": "string"}]}


def framed(number: int, schema: dict[str, Any], value: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), value)
    return struct.pack(">bI", 0, number) + out.getvalue()


@pytest.fixture
async def registry():
    async with registry_stub.Registry().serving() as served:
        served.schemas += [json.dumps(one) for one in (FIRST, SECOND, UNFIT)]
        yield served


def order(number: int) -> dict[str, Any]:
    return {"id": f"o{number}", "customer": number % 7, "items": [number], "note": None}


async def test_a_schema_that_grows_within_the_topic_changes_nothing_for_the_rows(kafka_server, tmp_path, registry):
    """Catches records that are read with their neighbour's schema, and a bad one that takes its neighbours with it."""
    bootstrap = kafka_server.bootstrap
    topic = kafka_sink.make_topic(bootstrap, partitions=1)
    bad = [
        b"\x01" + framed(100, FIRST, order(1))[1:],
        framed(999, FIRST, order(1)),
        framed(102, UNFIT, {"id": "x", "customer": "y"}),
        framed(100, FIRST, order(1))[:-1],
        framed(100, FIRST, order(1)) + b"\x00",
        kafka_source.order(1),
        b"",
    ]
    good = [framed(100 + number % 2, (FIRST, SECOND)[number % 2], order(number)) for number in range(400)]
    kafka_source.produce(bootstrap, topic, [*good[:200], *bad, None, *good[200:]], key=b"k")
    told = {"format": {"type": "Avro", "registry": {"url": registry.url}}}

    def land() -> None:
        with running.Running(tmp_path, kafka_source.pipeline(bootstrap, [topic], source=told)) as run:
            run.start()
            (lane,) = run.settled().lanes
            assert (lane.ledger.rows_written, lane.ledger.events_dead_lettered, lane.ledger.rows_filtered) == (400, len(bad), 1)
            assert run.landed("SELECT count(DISTINCT id), sum(customer) FROM orders") == [(400, sum(n % 7 for n in range(400)))]
            assert run.pipeline.stop() == 0

    await asyncio.to_thread(land)
    letters = await kafka_source.letters(tmp_path / "data")
    assert sorted(one.original for one in letters) == sorted(bad)
    assert {one.original_format.value for one in letters} == {"Avro"}
    assert {one.category.value for one in letters} == {"Malformed", "SchemaMismatch"}


async def test_a_letter_whose_schema_was_registered_later_lands_by_a_replay_after_a_restart(kafka_server, tmp_path, registry):
    """Catches a process that knows only schemas it has met, and makes a second letter of what the registry could tell."""
    bootstrap = kafka_server.bootstrap
    topic = kafka_sink.make_topic(bootstrap, partitions=1)
    late = 100 + len(registry.schemas)
    kafka_source.produce(bootstrap, topic, [framed(100, FIRST, order(0)), framed(late, SECOND, order(1))], key=b"k")
    text = kafka_source.pipeline(bootstrap, [topic], source={"format": {"type": "Avro", "registry": {"url": registry.url}}})

    async with source_run.SourceRun(tmp_path, text).opened() as run:
        told = await run.drained()
        assert (told.written, told.dead_lettered_events) == (1, 1)
        registry.schemas.append(json.dumps(SECOND | {"doc": "later"}))
        async with run.lane() as lane:
            wanted = survey.Order(filters=selection.Filters(), lanes=frozenset({lane.settings.lane}))
            seen = [progress async for progress in job.Jobs(run.log).replay(wanted)]
        assert (seen[-1].landed, seen[-1].failed_again) == (1, 0)
        assert await run.rows("SELECT id, customer, key FROM orders ORDER BY ALL") == [("o0", 0, "k"), ("o1", 1, "k")]


async def test_while_the_registry_is_away_records_wait_and_none_is_lost(kafka_server, tmp_path, registry):
    """Catches letters for records that nobody could read yet, and a lane that never asks again."""
    bootstrap = kafka_server.bootstrap
    topic = kafka_sink.make_topic(bootstrap, partitions=1)
    kafka_source.produce(bootstrap, topic, [framed(101, SECOND, order(number)) for number in range(100)])
    registry.failing = (503, "not now")
    told = {"format": {"type": "Avro", "registry": {"url": registry.url}}}

    def away() -> running.Running:
        run = running.Running(tmp_path, kafka_source.pipeline(bootstrap, [topic], source=told))
        run.start()
        running.until(lambda: "answered 503: not now" in run.said or None, run.pipeline.log_tail)
        assert run.status().lanes[0].ledger.events_read == 0
        return run

    def back(run: running.Running) -> None:
        with run:
            running.until(lambda: run.status().lanes[0].ledger.rows_written == 100 or None, run.pipeline.log_tail)
            assert run.status().lanes[0].ledger.events_dead_lettered == 0

    run = await asyncio.to_thread(away)
    registry.failing = None
    await asyncio.to_thread(back, run)
