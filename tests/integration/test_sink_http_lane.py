"""A lane over an HTTP endpoint: every good row once while answers arrive, a letter for every bad one."""

from __future__ import annotations

import asyncio
import json
import pathlib
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from tests.integration import endpoint as endpoints
from tests.integration import hook, lane_run

from penstock.api.model import sinks
from penstock.sinks import port, registry


@pytest.fixture
async def endpoint() -> AsyncIterator[endpoints.Endpoint]:
    async with endpoints.Endpoint().serving() as serving:
        yield serving


def lane_text(url: str, **http: Any) -> str:
    sink = {
        "name": "hook",
        "type": "HTTP",
        "http": {"url": url, **http},
        "batching": {"static": {"rows": 100, "lingerMilliseconds": 20}, "limits": {"rows": 200}},
        "retry": {"initialBackoffMilliseconds": 5, "maxBackoffMilliseconds": 20},
        "circuitBreaker": {"openSeconds": 1},
    }
    return lane_run.pipeline(sinks=[sink])


def hook_run(tmp_path, url: str, **http: Any) -> lane_run.LaneRun:
    return lane_run.LaneRun(tmp_path, lane_text(url, **http), open_store=_open_hook)


def _open_hook(sink: sinks.Sink, _: object) -> port.SinkWriter:
    return registry.open_writer(sink, directory=pathlib.Path(), secrets=hook.secret)


def events(start: int, end: int) -> list[dict[str, object]]:
    return [{"id": f"e{number}", "num": number} for number in range(start, end)]


async def test_a_lane_lands_every_good_row_once_and_a_letter_for_every_bad_one(endpoint, tmp_path):
    """Catches landed parts that the lane sends again or forgets to count, and refused rows that are not the ones refused."""
    bad = set(random.Random(7).sample(range(600), 30))
    endpoint.is_bad = lambda row: row["num"] in bad
    endpoint.drops_repeats = "Idempotency-Key"
    endpoint.plan.extend([_usual, _usual, endpoints.answers(503), _usual, endpoints.answers(500)])
    async with hook_run(tmp_path, endpoint.url, idempotencyHeader="Idempotency-Key").opened() as run:
        for start in range(0, 600, 60):
            await run.append(*events(start, start + 60))
        async with run.lane() as lane:
            totals = await lane_run.drained(lane, 60)
        letters = await run.letters()
    assert endpoint.counts("num") == dict.fromkeys(set(range(600)) - bad, 1)
    assert sorted(json.loads(letter.original)["num"] for letter in letters) == sorted(bad)
    assert {letter.code for letter in letters} == {"HTTP_422"}
    assert (totals.read, totals.written, totals.dead_lettered_rows) == (600, 570, 30)


async def _usual(_: endpoints.Request) -> web.StreamResponse | None:
    return None


async def test_a_lane_waits_for_an_endpoint_that_is_away_and_loses_nothing(tmp_path):
    """Catches dead letters made of an outage, and a lane that gives up."""
    endpoint = endpoints.Endpoint()
    async with endpoint.serving():
        pass
    async with hook_run(tmp_path, endpoint.url).opened() as run:
        await run.append(*events(0, 50))
        async with run.lane() as lane:
            await lane_run.until(lambda: len(run.store.batches) >= 3)
            assert endpoint.landed == []
            async with endpoint.serving():
                totals = await lane_run.drained(lane)
        assert not await run.letters()
    assert endpoint.counts("num") == dict.fromkeys(range(50), 1)
    assert totals.written == 50


async def test_a_lane_waits_as_long_as_the_endpoint_asks(endpoint, tmp_path):
    """Catches Retry-After that is lost between the answer and the lane: the endpoint is hammered at the lane's own pace."""
    endpoint.plan.extend([endpoints.answers(429, Retry_After="1")])
    times: list[float] = []

    async def note(_: endpoints.Request) -> web.StreamResponse | None:
        times.append(asyncio.get_running_loop().time())
        return None

    endpoint.plan.append(note)
    async with hook_run(tmp_path, endpoint.url).opened() as run:
        await run.append(*events(0, 5))
        began = asyncio.get_running_loop().time()
        async with run.lane() as lane:
            totals = await lane_run.drained(lane)
    assert times[0] - began >= 1.0
    assert totals.written == 5
