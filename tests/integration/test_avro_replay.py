"""Letters in Avro put back by a process that has read none of their schemas: a restart, or a topic of another tool."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import io
import json
import struct
from typing import Any

import fastavro
import pytest
from tests.integration import lane_run, registry_stub, stray_topic, test_replay, test_stray_replay

from penstock.core.records.avro import columns
from penstock.registry import client, schemas

SOURCE = {
    "type": "Kafka",
    "kafka": {
        "bootstrapServers": ["127.0.0.1:1"],
        "topics": ["orders"],
        "format": {"type": "Avro", "registry": {"url": "http://127.0.0.1:1"}},
    },
}
SCHEMA = {
    "type": "record",
    "name": "click",
    "fields": [{"name": "num", "type": "long"}, {"name": "id", "type": "string"}],
}


def framed(number: int, value: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(SCHEMA), value)
    return struct.pack(">bI", 0, number) + out.getvalue()


@pytest.fixture
async def registry():
    async with registry_stub.Registry().serving() as served:
        served.schemas.append(json.dumps(SCHEMA))
        yield served


def reading(run: lane_run.LaneRun, url: str) -> None:
    """What the process does at its start: nothing is known of any schema."""
    known = schemas.Schemas(client.Registry(url=url))
    values = functools.partial(columns.Records, run.settings.event_schema, known.known)
    run.settings = dataclasses.replace(run.settings, values=values, learn=known.learn_of)


def order(run: lane_run.LaneRun, topic: test_stray_replay.Topic):
    home = test_stray_replay.home(run, original_format=run.settings.record_format)
    return test_stray_replay.order(run, topic, home_=home)


async def test_schemas_are_asked_for_before_letters_are_read(tmp_path, registry):
    """Catches second letters for what the registry knows, and one that nobody knows which takes its neighbours with it."""
    async with lane_run.LaneRun(tmp_path, lane_run.pipeline(source=SOURCE)).opened() as run:
        reading(run, registry.url)
        topic = test_stray_replay.Topic()
        for number, schema in enumerate((100, 100, 999)):
            topic.add(number % topic.partitions, framed(schema, {"id": f"e{number}", "num": number}), stray_topic.connect(number))
        async with run.lane():
            done = await test_replay.replayed(run, order(run, topic))
        assert (done.published, done.landed, done.failed_again) == (3, 2, 1)
        assert await run.rows() == [("e0", 0), ("e1", 1)]
        (second,) = await run.letters()
        assert (second.attempt, "404" in second.message) == (2, True), second


async def test_while_the_registry_is_away_replays_wait(tmp_path, registry):
    """Catches letters that count as failed again because nobody could tell what they say, and replays that never go on."""
    async with lane_run.LaneRun(tmp_path, lane_run.pipeline(source=SOURCE)).opened() as run:
        reading(run, registry.url)
        topic = test_stray_replay.Topic()
        topic.add(0, framed(100, {"id": "e0", "num": 0}), stray_topic.spring(0))
        registry.failing = (503, "not now")
        async with run.lane() as lane:
            replaying = asyncio.create_task(test_replay.replayed(run, order(run, topic)))
            await lane_run.until(lambda: registry.looked_up > 1, 60.0)
            assert (lane.replay_log.accounts.totals().read, lane.failure, replaying.done()) == (0, None, False)
            registry.failing = None
            done = await replaying
        assert (done.landed, done.failed_again) == (1, 0)
        assert await run.letters() == []
