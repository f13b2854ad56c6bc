"""The HTTP sink and endpoints that are slow, away, or hostile: whose fault it is, and what it costs."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from tests.integration import endpoint as endpoints
from tests.integration import hook, lane_run

from penstock.core import delivery, results


@pytest.fixture
async def endpoint() -> AsyncIterator[endpoints.Endpoint]:
    async with endpoints.Endpoint().serving() as serving:
        yield serving


@pytest.mark.parametrize(
    ("behaviour", "code", "seconds"),
    [
        (endpoints.answers(429, "slow down", Retry_After="7"), "HTTP_429", 7.0),
        (endpoints.answers(503, Retry_After="Thu, 01 Jan 2026 12:01:00 GMT"), "HTTP_503", 60.0),
        (endpoints.answers(500, "boom"), "HTTP_500", 0.0),
        (endpoints.answers(401, f"{hook.TOKEN} is expired"), "CREDENTIALS_REJECTED", 0.0),
        (endpoints.answers(403), "CREDENTIALS_REJECTED", 0.0),
        (endpoints.answers(404), "HTTP_404", 0.0),
    ],
    ids=["429", "503", "500", "401", "403", "404"],
)
async def test_an_endpoint_that_is_in_trouble_is_an_outage_and_is_not_halved(endpoint, behaviour, code, seconds):
    """Catches dead letters made of an outage, advice that is lost, and a secret in a message."""
    endpoint.plan.append(behaviour)
    headers = [{"name": "Authorization", "secretKeyRef": {"name": "hook", "key": "token"}}]
    async with hook.opened(endpoint.url, headers=headers) as writer:
        told = await hook.failure(writer, hook.batch(0, 4))
        assert (told.result_class, told.code, told.retry_after_seconds) == (results.ResultClass.OUTAGE, code, seconds)
        assert len(endpoint.requests) == 1
        assert "t0ken" not in told.message
        assert "in-the-address" not in told.message
        assert (await writer.write(hook.batch(0, 4))).written == 4


async def test_a_redirect_is_not_followed(endpoint):
    """Catches an endpoint that chooses an address inside our network for the rows to go to."""
    async with endpoints.Endpoint().serving() as inside:
        for status in (301, 302, 307, 308):
            endpoint.plan.append(endpoints.answers(status, Location=inside.url))
            async with hook.opened(endpoint.url) as writer:
                told = await hook.failure(writer, hook.batch(0, 1))
            assert (told.result_class, told.code) == (results.ResultClass.CONFIG, "REDIRECTED")
        assert inside.requests == []


async def test_an_endpoint_that_is_away_is_an_outage_until_it_is_back():
    """Catches a refused connection taken for anything else, and a pool that remembers it."""
    endpoint = endpoints.Endpoint()
    async with endpoint.serving():
        pass
    async with hook.opened(endpoint.url) as writer:
        told = await hook.failure(writer, hook.batch(0, 2))
        assert (told.result_class, told.code) == (results.ResultClass.OUTAGE, "UNREACHABLE")
        async with endpoint.serving():
            assert (await writer.write(hook.batch(0, 2))).written == 2
        assert (await hook.failure(writer, hook.batch(2, 4))).result_class is results.ResultClass.OUTAGE
        async with endpoint.serving():
            assert (await writer.write(hook.batch(2, 4))).written == 2
    assert endpoint.counts() == dict.fromkeys(range(4), 1)


@pytest.mark.parametrize(
    ("url", "result_class", "code"),
    [
        ("http://nowhere.invalid/", "OUTAGE", "UNREACHABLE"),
        ("http://127.0.0.1:99999/", "CONFIG", "URL"),
        ("http://[::1/", "CONFIG", "URL"),
        ("https://{0}/", "OUTAGE", "TLS"),
    ],
)
async def test_an_address_where_nobody_is_says_so(endpoint, url, result_class, code):
    """Catches an exception of the client's that no rule knows: it would be tried a few times and then blamed on a row."""
    async with hook.opened(url.format(endpoint.url.split("/")[2])) as writer:
        told = await hook.failure(writer, hook.batch(0, 1))
    assert (told.result_class, told.code) == (results.ResultClass[result_class], code)


async def test_time_that_runs_out_in_a_search_keeps_what_has_landed(endpoint):
    """Catches a deadline that throws away what is known: the landed half would be sent again."""

    async def as_usual(_: endpoints.Request) -> web.StreamResponse | None:
        return None

    endpoint.is_bad = lambda row: row["id"] == 7
    endpoint.plan.extend([as_usual, as_usual, endpoints.hang])
    async with hook.opened(endpoint.url, write_timeout_seconds=1) as writer:
        result = await writer.write(hook.batch(0, 8))
        assert (result.written, list(result.written_rows), list(result.rejected)) == (4, [delivery.Stretch(0, 4)], [])
    assert endpoint.counts() == dict.fromkeys(range(4), 1)


async def test_no_more_requests_than_connections_are_under_way(endpoint):
    """Catches a pool without a bound."""
    open_now = asyncio.Event()

    async def wait(_: endpoints.Request) -> web.StreamResponse | None:
        await open_now.wait()
        return None

    endpoint.plan.extend([wait] * 6)
    async with hook.opened(endpoint.url, concurrency=2) as writer:
        running = [asyncio.create_task(writer.write(hook.batch(at, at + 1))) for at in range(6)]
        await lane_run.until(lambda: endpoint.under_way == 2)
        open_now.set()
        assert [result.written for result in await asyncio.gather(*running)] == [1] * 6
    assert endpoint.most_under_way == 2


async def test_a_write_that_is_given_up_leaves_the_pool_as_it_was(endpoint):
    """Catches a connection that a cancelled write keeps for ever."""
    endpoint.plan.append(endpoints.hang)
    async with hook.opened(endpoint.url, concurrency=1) as writer:
        running = asyncio.create_task(writer.write(hook.batch(0, 1)))
        await lane_run.until(lambda: endpoint.under_way == 1)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert (await writer.write(hook.batch(1, 2))).written == 1


@pytest.mark.parametrize("status", [200, 422, 500])
async def test_a_body_without_end_costs_neither_time_nor_memory(endpoint, status):
    """Catches an endpoint that fills our memory, holds a slot, or makes a message of megabytes."""
    endless = endpoints.Endless(status)
    endpoint.plan.append(endless)
    async with hook.opened(endpoint.url) as writer:
        (outcome,) = await asyncio.gather(writer.write(hook.batch(0, 1)), return_exceptions=True)
        assert len(str(outcome)) < 1_000
        async with asyncio.timeout(20):
            await endless.cut.wait()
        # What the buffers of the two ends and of the kernel hold; read for a second, it would be hundreds of megabytes.
        assert endless.sent < 32 << 20
        assert (await writer.write(hook.batch(1, 2))).written == 1


HOSTILE = {
    "no http": b"SSH-2.0-OpenSSH_9.6\r\n",
    "nothing": b"",
    "broken header": b"HTTP/1.1 200 OK\r\nno colon here\r\n\r\n",
    "control characters": b"HTTP/1.1 200 OK\r\nX: a\x00b\r\n\r\n",
    "a header of 1 MB": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1_000_000 + b"\r\n\r\n",
    "10,000 headers": b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(10_000)) + b"\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
    "a negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
    "half a status line": b"HTTP/1.1 2",
}


@pytest.mark.parametrize("answer", HOSTILE.values(), ids=HOSTILE)
async def test_what_is_no_answer_is_an_outage(answer):
    """Catches an answer that nobody gave taken for success, and an exception that no rule knows."""
    async with endpoints.canned(answer) as url, hook.opened(url) as writer:
        told = await hook.failure(writer, hook.batch(0, 1))
    assert told.result_class is results.ResultClass.OUTAGE
    assert told.code in {"BAD_ANSWER", "NO_ANSWER"}
    assert len(told.message) < 700
    assert told.message.isprintable()


async def test_a_success_whose_body_is_broken_is_a_success():
    """Catches rows sent again because of what stands after a 200."""
    for body in (b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope", b"Content-Length: 90\r\n\r\nshort"):
        async with endpoints.canned(b"HTTP/1.1 200 OK\r\n" + body) as url, hook.opened(url) as writer:
            assert (await writer.write(hook.batch(0, 1))).written == 1


async def test_a_compressed_body_is_not_unpacked():
    """Catches a bomb: a few kilobytes that become gigabytes."""
    body = gzip.compress(b"x" * 1_000_000)
    head = b"HTTP/1.1 500 No\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body)
    async with endpoints.canned(head + body) as url, hook.opened(url) as writer:
        assert "xxxx" not in (await hook.failure(writer, hook.batch(0, 1))).message


async def test_a_body_that_dribbles_is_not_waited_for():
    """Catches a slot that is held until the deadline after the status is known."""
    async with endpoints.canned(b"HTTP/1.1 500 No\r\n\r\n", dribble=b"x") as url, hook.opened(url) as writer:
        async with asyncio.timeout(20):
            assert (await hook.failure(writer, hook.batch(0, 1))).code == "HTTP_500"


async def test_headers_that_dribble_end_with_the_time_of_the_write():
    """Catches an answer without end that outlives the deadline."""
    async with (
        endpoints.canned(b"HTTP/1.1 200 OK\r\nX: ", dribble=b"x") as url,
        hook.opened(url, write_timeout_seconds=1) as writer,
    ):
        assert (await hook.failure(writer, hook.batch(0, 1))).result_class is results.ResultClass.OUTAGE


async def test_cookies_are_not_kept(endpoint):
    """Catches an endpoint that marks us, or moves us to another of its sessions."""
    endpoint.plan.append(endpoints.answers(200, Set_Cookie="session=theirs"))
    # No client keeps cookies of a bare address.
    async with hook.opened(endpoint.url.replace("127.0.0.1", "localhost")) as writer:
        await writer.write(hook.batch(0, 1))
        await writer.write(hook.batch(1, 2))
    assert "Cookie" not in endpoint.requests[1].headers
