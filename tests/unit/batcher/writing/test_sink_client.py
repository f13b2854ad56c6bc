"""One lane's way to its endpoints; the channels are stand-ins."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import pyarrow as pa
import pytest

from penstock.batcher.writing import sink_channel, sink_client
from penstock.core import addresses, delivery, hedging, results

_ROWS = pa.table({"a": [1, 2, 3]})
_RANGE = addresses.Range("log", 0, addresses.Position(0), addresses.Position(1))
_BATCH = delivery.SinkBatch(lane="l", table="t", ranges=[_RANGE], token="k", finished_below=(), key_columns=(), rows=_ROWS)
_WRITTEN = delivery.WriteResult(written=3)


class _Channels:
    """Stands in for all endpoints: `answers` by address, each a result, an error, or what is awaited for one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.answers: dict[str, object] = {}
        self.identity = delivery.Identity.TRANSACTIONAL
        self.asked: list[str] = []
        self.streams: list[pa.Buffer] = []
        self.described: list[str] = []
        self.returned: set[str] = set()
        monkeypatch.setattr(sink_channel, "SinkChannel", lambda address, **_: _Channel(self, address))


class _Channel:
    def __init__(self, all_: _Channels, address: str) -> None:
        self._all, self._address = all_, address

    async def describe(self, *_: object, deadline_seconds: float) -> delivery.Description:
        self._all.described.append(self._address)
        if isinstance(answer := self._all.answers.get(self._address), Exception):
            raise answer
        return delivery.Description(
            identity=self._all.identity, identity_reason="", max_concurrency=0, preferred_rows=0, preferred_bytes=0
        )

    async def write(self, batch: delivery.SinkBatch, stream: pa.Buffer, *, deadline_seconds: float) -> delivery.WriteResult:
        self._all.asked.append(self._address)
        self._all.streams.append(stream)
        answer = self._all.answers.get(self._address, _WRITTEN)
        if isinstance(answer, asyncio.Future):
            return await answer
        if isinstance(answer, Exception):
            raise answer
        assert isinstance(answer, delivery.WriteResult)
        return answer

    def has_returned(self) -> bool:
        return self._address in self._all.returned

    async def close(self) -> None: ...


@pytest.fixture
def channels(monkeypatch):
    return _Channels(monkeypatch)


@pytest.fixture
async def opened():
    clients: list[sink_client.SinkClient] = []

    def open_(text: str, clock: Callable[[], float] | None = None) -> sink_client.SinkClient:
        clients.append(sink_client.SinkClient(text, **({"clock": clock} if clock else {})))
        return clients[-1]

    yield open_
    for client in clients:
        await client.close()


def _failed(kind: results.ResultClass, *, may_land: bool = False) -> delivery.WriteFailedError:
    failure = results.Failure(result_class=kind, code="X", message="as told")
    return delivery.WriteFailedError(failure, may_land=may_land)


def _terms(identity: delivery.Identity = delivery.Identity.TRANSACTIONAL, **told: object) -> sink_client.Terms:
    known = {"ordered": False, "hedging": None, "write_seconds": 30.0, "is_calm": lambda: True} | told
    return sink_client.Terms(identity=identity, **known)  # type: ignore[arg-type]


async def _write(client: sink_client.SinkClient) -> delivery.WriteResult:
    return await client.write(_BATCH, deadline_seconds=30.0)


async def test_a_failing_endpoint_is_told_apart_from_a_failing_store(channels, opened):
    """Catches a dead replica that counts as an outage of the lane, and an outage that counts as a dead replica."""
    client = opened("a:1,b:1")
    told = []
    for kind in (results.ResultClass.OUTAGE, results.ResultClass.CONFIG, results.ResultClass.OUTAGE):
        channels.answers = dict.fromkeys(("a:1", "b:1"), _failed(kind))
        with pytest.raises(delivery.WriteFailedError) as caught:
            await _write(client)
        told.append(caught.value.elsewhere)
    assert told == [True, False, False]
    assert client.endpoints_well == 0
    client.forgive()
    assert client.endpoints_well == 2


async def test_an_endpoint_that_is_there_again_takes_writes_at_once(channels, opened):
    """Catches a restarted sink process that is left alone for as long as endpoints are after several failures."""
    client = opened("a:1,b:1")
    channels.answers["a:1"] = _failed(results.ResultClass.OUTAGE)
    for _ in range(4):
        with contextlib.suppress(delivery.WriteFailedError):
            await _write(client)
    channels.answers.clear()
    assert client.returns() == 0
    channels.returned.add("a:1")
    channels.asked.clear()
    await _write(client)
    assert channels.asked == ["a:1"]
    assert client.returns() == 2


async def test_a_description_is_had_from_whichever_endpoint_answers(channels, opened):
    """Catches a batcher that can't start because one replica of three is away; and one that asks on after a clear no."""
    away = _failed(results.ResultClass.OUTAGE)
    client = opened("a:1,b:1,c:1")
    channels.answers = {"a:1": away, "b:1": away}
    assert (await client.describe("l", "t", _ROWS.schema)).identity is delivery.Identity.TRANSACTIONAL
    channels.answers["c:1"] = away
    with pytest.raises(delivery.WriteFailedError):
        await client.describe("l", "t", _ROWS.schema)
    channels.described.clear()
    channels.answers = dict.fromkeys(("a:1", "b:1", "c:1"), _failed(results.ResultClass.CONFIG))
    with pytest.raises(delivery.WriteFailedError):
        await client.describe("l", "t", _ROWS.schema)
    assert len(channels.described) == 1


async def test_several_writers_of_one_folder_are_refused(channels, opened):
    """Catches two processes that rename files in one folder behind each other's back."""
    channels.identity = delivery.Identity.MANIFEST
    assert (await opened("a:1").describe("l", "t", _ROWS.schema)).identity is delivery.Identity.MANIFEST
    with pytest.raises(delivery.WriteFailedError, match="SEVERAL_WRITERS"):
        await opened("a:1,b:1").describe("l", "t", _ROWS.schema)


async def test_order_waits_for_the_time_of_a_write_that_may_still_land(channels, opened):
    """Catches an ordered write that overtakes one whose outcome nobody knows; and one that waits although nothing had left."""
    now = 100.0
    client = opened("a:1,b:1", lambda: now)
    client.agree(_terms(delivery.Identity.NONE, ordered=True))
    await _write(client)
    first = channels.asked[0]
    other = ({"a:1", "b:1"} - {first}).pop()
    channels.answers[first] = _failed(results.ResultClass.OUTAGE, may_land=True)
    for now in (100.0, 115.0, 129.0):  # noqa: B007 - the clock reads it
        with pytest.raises(delivery.WriteFailedError) as caught:
            await _write(client)
        assert channels.asked[-1] == first
        assert not caught.value.elsewhere
    channels.answers[first] = _failed(results.ResultClass.OUTAGE)
    now = 160.0
    with pytest.raises(delivery.WriteFailedError):
        await _write(client)
    await _write(client)
    assert channels.asked[-1] == other


async def _hedging(client: sink_client.SinkClient, monkeypatch: pytest.MonkeyPatch, **told: object) -> None:
    """From now on every write is late after a millisecond, and there is budget for all."""
    client.agree(_terms(hedging=hedging.Settings(), **told))
    assert client._hedging is not None
    monkeypatch.setattr(client._hedging, "_quantiles", lambda _: (0.001, 0.001))
    monkeypatch.setattr(client._hedging, "withheld", _granted)


def _granted(now: float, flight: hedging.Flight, *, calm: bool, another: bool) -> hedging.Withheld | None:
    if not calm or not another:
        return hedging.Withheld.TROUBLE
    flight.hedged = True
    return None


async def test_a_second_write_is_the_same_write_elsewhere_and_is_announced_before_it_leaves(channels, opened, monkeypatch):
    """Catches a second write that is encoded anew or goes to the same endpoint, and one the lane does not know of when
    it answers that its rows have landed already."""
    client = opened("a:1,b:1")
    await _hedging(client, monkeypatch)
    slow = asyncio.get_running_loop().create_future()
    await _write(client)
    first = ({"a:1", "b:1"} - {channels.asked[0]}).pop()
    channels.answers[first] = slow
    landed = delivery.WriteResult(already_landed=[_RANGE])
    channels.answers[channels.asked[0]] = landed
    announced: list[int] = []
    result = await client.write(_BATCH, deadline_seconds=30.0, repeating=lambda: announced.append(len(channels.asked)))
    assert result == landed
    assert announced == [2]
    assert channels.asked[1:] == [first, channels.asked[0]]
    assert channels.streams[1] is channels.streams[2]
    assert client.hedges == {"won": 1}
    assert slow.cancelled()


async def test_rows_are_not_refused_while_the_other_copy_may_land_them(channels, opened, monkeypatch):
    """Catches a row in the dead letters that stands in the store: the two endpoints know different versions of a table."""
    client = opened("a:1,b:1")
    await _hedging(client, monkeypatch)
    slow = asyncio.get_running_loop().create_future()
    await _write(client)
    first = ({"a:1", "b:1"} - {channels.asked[0]}).pop()
    refusal = results.RejectedRow(row=1, result_class=results.ResultClass.DATA, code="X", message="no")
    channels.answers = {first: slow, channels.asked[0]: delivery.WriteResult(rejected=[refusal])}
    write = asyncio.create_task(_write(client))
    async with asyncio.timeout(60):
        while len(channels.asked) < 3:  # noqa: ASYNC110 - what is waited for can not notify
            await asyncio.sleep(0.001)
    for _ in range(10):
        await asyncio.sleep(0)
    assert not write.done()
    slow.set_result(_WRITTEN)
    assert await write == _WRITTEN
    assert client.hedges == {"lost": 1}


@pytest.mark.parametrize("identity", [delivery.Identity.NONE, delivery.Identity.MANIFEST], ids=str)
async def test_what_the_sink_declares_outweighs_what_the_pipeline_wishes(channels, opened, identity):
    """Catches hedging of a sink of somebody else's that is at least once."""
    client = opened("a:1,b:1")
    client.agree(_terms(identity, hedging=hedging.Settings()))
    assert client._hedging is None
