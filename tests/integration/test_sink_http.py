"""The HTTP sink against a real server: what lands, what is refused, and what is sent twice."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator

import pyarrow as pa
import pytest
from aiohttp import web
from tests.integration import endpoint as endpoints
from tests.integration import hook
from tests.unit.sinks import writes

from penstock.core import delivery, results
from penstock.sinks import port


@pytest.fixture
async def endpoint() -> AsyncIterator[endpoints.Endpoint]:
    async with endpoints.Endpoint().serving() as serving:
        yield serving


async def until_settled(writer: port.SinkWriter, rows: pa.Table) -> tuple[list[int], int]:
    """What the lane does: send, and send again what is neither written nor refused. The refused ids, and how many writes."""
    rejected: list[int] = []
    count = 0
    while rows.num_rows:
        count += 1
        result = await writer.write(writes.batch(rows, writes.span(0, 1)))
        if result.written == rows.num_rows:
            break
        ids = rows.column("id").to_pylist()
        settled = {row.row for row in result.rejected}
        rejected += [ids[row] for row in sorted(settled)]
        for part in result.written_rows:
            settled.update(range(part.start, part.end))
        assert settled
        rows = rows.filter(pa.array([at not in settled for at in range(len(ids))]))
    return sorted(rejected), count


@pytest.mark.parametrize("format_", ["Ndjson", "JsonArray"])
async def test_rows_arrive_as_they_were_described(endpoint, format_):
    """Catches a method, header or format that is read and then ignored."""
    headers = [
        {"name": "X-Source", "value": "clicks"},
        {"name": "Authorization", "secretKeyRef": {"name": "hook", "key": "token"}},
    ]
    async with hook.opened(
        endpoint.url, method="PUT", format=format_, headers=headers, idempotencyHeader="Idempotency-Key"
    ) as writer:
        assert (await writer.write(hook.batch(0, 3))).written == 3
    (request,) = endpoint.requests
    assert [row["id"] for row in request.rows] == [0, 1, 2]
    assert request.rows[1] == {"id": 1, "name": "row 1"}
    assert (request.method, request.headers["X-Source"], request.headers["Authorization"]) == ("PUT", "clicks", hook.TOKEN)
    assert request.headers["Content-Type"] == {"Ndjson": "application/x-ndjson", "JsonArray": "application/json"}[format_]
    assert len(request.headers["Idempotency-Key"]) == 32


async def test_what_holds_is_said_without_asking_the_endpoint():
    """Catches at-least-once sold as more, and a start that needs the endpoint to be up."""
    async with hook.opened("http://127.0.0.1:9/", concurrency=3) as writer:
        told = await writer.describe(writes.LANE, "hook", writes.numbered(0, 0).schema)
    assert (told.identity, told.max_concurrency) == (delivery.Identity.NONE, 3)
    assert "idempotencyHeader" in told.identity_reason


async def test_a_key_is_the_same_for_a_retry_and_for_nothing_else(endpoint):
    """Catches a key of the ranges alone, under which the rest of a batch is dropped as a repeat of it; and a random one."""

    async def key_of(told: delivery.SinkBatch) -> str:
        await writer.write(told)
        return endpoint.requests[-1].headers["Key"]

    async with hook.opened(endpoint.url, idempotencyHeader="Key") as writer:
        whole = writes.numbered(0, 4)
        first = await key_of(writes.batch(whole, writes.span(0, 4)))
        assert await key_of(writes.batch(whole, writes.span(0, 2), writes.span(2, 4))) == first
        others = [
            await key_of(writes.batch(whole.slice(0, 3), writes.span(0, 4))),
            await key_of(writes.batch(whole, writes.span(4, 8))),
            await key_of(writes.batch(whole, writes.span(0, 4, log_id="other"))),
            await key_of(writes.batch(whole, writes.span(0, 4), writes.span(3, 4, partition=1))),
            await key_of(writes.batch(whole, writes.span(0, 4), lane="web/clicks/other")),
        ]
    assert len({first, *others}) == 6


@pytest.mark.parametrize("seed", range(3))
async def test_each_bad_row_is_named_and_each_good_one_lands_once(endpoint, seed):
    """Catches a part that is sent again after it was taken, and a good row that shares a bad one's fate."""
    bad = set(random.Random(seed).sample(range(500), 25))
    endpoint.is_bad = lambda row: row["id"] in bad
    async with hook.opened(endpoint.url) as writer:
        rejected, count = await until_settled(writer, writes.numbered(0, 500))
    assert rejected == sorted(bad)
    assert endpoint.counts() == dict.fromkeys(set(range(500)) - bad, 1)
    assert len(endpoint.requests) <= 64 * count


async def test_a_refused_row_carries_the_endpoints_word(endpoint):
    """Catches a dead letter that doesn't say what was wrong."""
    endpoint.is_bad = lambda row: row["id"] == 2
    async with hook.opened(endpoint.url) as writer:
        result = await writer.write(hook.batch(0, 4))
    (refused,) = result.rejected
    assert (refused.row, refused.result_class, refused.code) == (2, results.ResultClass.DATA, "HTTP_422")
    assert "row 2 is not welcome" in refused.message
    assert result.written == 3
    assert "in-the-address" not in refused.message


async def test_a_row_that_json_can_not_hold_is_refused_without_a_request_of_its_own(endpoint):
    """Catches one date beyond the calendar that stops a whole lane."""
    rows = pa.table({"id": [0, 1, 2], "day": pa.array([0, 2**31 - 1, 1], pa.date32())})
    async with hook.opened(endpoint.url) as writer:
        result = await writer.write(writes.batch(rows, writes.span(0, 3)))
    assert [(row.row, row.code) for row in result.rejected] == [(1, "NOT_JSON")]
    assert endpoint.counts() == {0: 1, 2: 1}


@pytest.mark.parametrize("format_", ["Ndjson", "JsonArray"])
async def test_a_batch_that_is_too_large_goes_in_parts(endpoint, format_):
    """Catches rows dead-lettered for their number, and halving without end for a row that never fits."""
    endpoint.most_bytes = 2_000
    async with hook.opened(endpoint.url, format=format_) as writer:
        assert await writer.write(hook.batch(0, 500)) == delivery.WriteResult(written=500)
        assert [row["id"] for row in endpoint.landed] == list(range(500))
        large = pa.table({"id": [0, 1, 2], "name": ["a", "b" * 5_000, "c"]})
        result = await writer.write(writes.batch(large, writes.span(0, 3)))
    assert [(row.row, row.code) for row in result.rejected] == [(1, "HTTP_413")]
    assert result.written == 2


async def test_the_owners_statuses_are_used(endpoint):
    """Catches a list of statuses that is read and then ignored."""
    endpoint.plan.extend([endpoints.answers(422), endpoints.answers(418)])
    async with hook.opened(endpoint.url, dataStatusCodes=[418], splitStatusCodes=[]) as writer:
        assert (await hook.failure(writer, hook.batch(0, 1))).code == "HTTP_422"
        assert [row.code for row in (await writer.write(hook.batch(0, 1))).rejected] == ["HTTP_418"]
        endpoint.most_bytes = 1
        assert (await hook.failure(writer, hook.batch(0, 1))).code == "HTTP_413"


@pytest.mark.parametrize("drops_repeats", [False, True])
async def test_a_lost_answer_is_asked_for_again_and_lands_twice_unless_the_endpoint_knows_the_key(endpoint, drops_repeats):
    """Catches exactly-once claimed where it can't be, and a key that changes between the two."""

    async def take_and_hang(request: endpoints.Request) -> web.StreamResponse | None:
        endpoint._usual(request)
        return await endpoints.hang(request)

    endpoint.plan.append(take_and_hang)
    endpoint.drops_repeats = "Key" if drops_repeats else None
    async with hook.opened(endpoint.url, write_timeout_seconds=1, idempotencyHeader="Key") as writer:
        told = await hook.failure(writer, hook.batch(0, 5))
        assert (told.result_class, told.code) == (results.ResultClass.OUTAGE, "TIMEOUT")
        assert "may have landed" in told.message
        assert (await writer.write(hook.batch(0, 5))).written == 5
    assert endpoint.counts() == dict.fromkeys(range(5), 1 if drops_repeats else 2)
