"""A lane over three sink servers: one stalls, one dies, all die, all are slow."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import socket

import grpc
import pytest
from tests.integration import doors, lane_run
from tests.unit.sinks import writes

from penstock.batcher import lane as batcher_lane
from penstock.batcher import status
from penstock.batcher.writing import resolving, sink_channel, sink_client
from penstock.core import breaker, delivery, results
from penstock.sinks import port as sinks_port
from penstock.sinks import server
from penstock.telemetry import metrics

_BATCHING = {"static": {"rows": 10, "lingerMilliseconds": 5}, "limits": {"rows": 10}}
_LEARNT = 30
"""Batches after which a lane knows what is slow: more than the twenty it wants."""


@pytest.fixture
async def run(tmp_path):
    text = lane_run.pipeline(sink_batching=_BATCHING)
    async with lane_run.LaneRun(tmp_path, text).opened() as opened:
        yield opened


async def _append(run: lane_run.LaneRun, first: int, batches: int) -> None:
    """One block a batch."""
    for start in range(first * 10, (first + batches) * 10, 10):
        await run.append(*lane_run.events(start, 10))


async def _landed(lane: batcher_lane.Lane, batches: int) -> None:
    await lane_run.until(lambda: lane.accounts.totals().written >= batches * 10, seconds=60.0)


async def _all_landed_once(run: lane_run.LaneRun, lane: batcher_lane.Lane, batches: int) -> None:
    totals = await lane_run.drained(lane, seconds=60.0)
    assert lane.failure is None
    assert (totals.read, totals.written) == (batches * 10, batches * 10)
    assert await run.rows() == lane_run.wanted(0, batches * 10)


def _two_slots(run: lane_run.LaneRun) -> dict[str, object]:
    return {
        "write_model": dataclasses.replace(run.settings.write_model, wanted_concurrency=2, maximum_concurrency=2),
        "limits": dataclasses.replace(run.settings.limits, concurrency=2),
    }


class _Stall:
    """Holds the first write that comes to any of the doors once it is `armed`, until it is released."""

    def __init__(self) -> None:
        self.armed = False
        self.held: delivery.SinkBatch | None = None
        self.released = asyncio.Event()

    async def __call__(self, batch: delivery.SinkBatch) -> None:
        if self.armed and self.held is None:
            self.held = batch
            await self.released.wait()


async def test_a_write_that_stalls_is_sent_to_another_endpoint_and_its_late_landing_changes_nothing(run):
    """Catches a lane that waits for the straggler until its time-out, and one whose loser, which cannot be called back, lands
    the rows a second time."""
    stall = _Stall()
    async with doors.opened(run) as three:
        for door in three.doors:
            door.before, door.outlives = stall, True
        async with three.lane(hedging=doors.HEDGING, **_two_slots(run)) as lane:
            await _append(run, 0, _LEARNT)
            await _landed(lane, _LEARNT)
            stall.armed = True
            await _append(run, _LEARNT, 20)
            await _all_landed_once(run, lane, _LEARNT + 20)
            assert stall.held is not None
            assert lane.sink.hedges["won"] >= 1
            stall.released.set()
            late = [await zombie for door in three.doors for zombie in door.zombies]
            assert await run.rows() == lane_run.wanted(0, (_LEARNT + 20) * 10)
    held = stall.held
    assert [list(result.already_landed) for result in late].count(list(held.ranges)) >= 1


async def test_when_both_land_the_rows_count_once_and_the_log_is_not_taken_for_a_copy(run):
    """Catches `AlreadyLanded` from the second endpoint taken for a log that was put back, and rows that are counted twice or
    not at all because the first endpoint had landed them and never said so."""
    stall = _Stall()
    async with doors.opened(run) as three:
        for door in three.doors:
            door.after = stall
        async with three.lane(hedging=doors.HEDGING, **_two_slots(run)) as lane:
            await _append(run, 0, _LEARNT)
            await _landed(lane, _LEARNT)
            stall.armed = True
            await _append(run, _LEARNT, 20)
            await _all_landed_once(run, lane, _LEARNT + 20)
            assert stall.held is not None
            assert lane.sink.hedges["won"] >= 1
            stall.released.set()


@pytest.mark.parametrize(
    ("says", "changed"),
    [({"identity": delivery.Identity.NONE}, {}), ({}, {"ordered": True})],
    ids=["nothing keeps it from landing twice", "order is kept"],
)
async def test_what_could_land_twice_or_overtake_is_never_sent_twice(run, says, changed):
    """Catches hedging that goes by the pipeline's wish and not by what the sink has declared, or that forgets the order."""
    stall = _Stall()
    async with doors.opened(run) as three:
        three.all_say(**says)
        for door in three.doors:
            door.before = stall
        async with three.lane(hedging=doors.HEDGING, **changed) as lane:
            await _append(run, 0, _LEARNT)
            await _landed(lane, _LEARNT)
            stall.armed = True
            await _append(run, _LEARNT, 1)
            await lane_run.until(lambda: stall.held is not None, seconds=60.0)
            # Far more turns of the loop than a write has needed so far.
            for _ in range(200):
                await asyncio.sleep(0.002)
            assert three.writes == _LEARNT + 1
            stall.released.set()
            await _all_landed_once(run, lane, _LEARNT + 1)
            assert not lane.sink.hedges


async def test_a_store_that_is_slow_everywhere_gets_no_more_second_writes_than_the_budget(run):
    """Catches the retry storm: each write is late by the old measure, and twice as many writes make none of them faster."""
    slow = asyncio.Event()
    seconds = 0.0

    async def browned_out(_: delivery.SinkBatch) -> None:
        if slow.is_set():
            await asyncio.sleep(seconds)

    async with doors.opened(run) as three:
        for door in three.doors:
            door.before = browned_out
        hedging = dataclasses.replace(doors.HEDGING, budget_percent=5)
        async with three.lane(hedging=hedging, **_two_slots(run)) as lane:
            await _append(run, 0, _LEARNT)
            await _landed(lane, _LEARNT)
            before = three.writes
            # Slow by the measure of this machine, today.
            assert lane.sink._hedging is not None
            seconds = max(0.1, *(3.0 * one for one in lane.sink._hedging._quantiles(10)))
            slow.set()
            await _append(run, _LEARNT, _LEARNT)
            await _all_landed_once(run, lane, 2 * _LEARNT)
            sent = lane.sink.hedges["won"] + lane.sink.hedges["lost"]
            assert sent <= 0.05 * 2 * _LEARNT
            assert three.writes - before <= _LEARNT + sent
            assert lane.sink.hedges["all_slow"] + lane.sink.hedges["budget"] >= 1


async def test_a_store_that_asks_for_less_gets_fewer_writes_at_once_and_all_of_the_rows(run):
    """Catches pressure that is an outage for the circuit, that is only counted, or that nobody is told of."""
    asked: list[delivery.SinkBatch] = []

    async def too_many_parts(batch: delivery.SinkBatch) -> None:
        if len(asked) < 4:
            asked.append(batch)
            raise sinks_port.SinkError(
                results.Failure(result_class=results.ResultClass.PRESSURE, code="TOO_MANY_PARTS", message="as told")
            )

    async with doors.opened(run) as three:
        for door in three.doors:
            door.before = too_many_parts
        async with three.lane(**_two_slots(run)) as lane:
            assert lane.dispatcher.slots == 2
            await _append(run, 0, 20)
            await lane_run.until(lambda: lane.dispatcher.pressure_steps > 0, seconds=60.0)
            assert lane.dispatcher.slots == 1
            assert lane.dispatcher.write_model.minimum_linger_seconds > 0.0
            reported = await status.Reporter(lane).report()
            assert (reported.pressure, reported.circuit) == (1, "Closed")
            assert metrics.PRESSURE.labels(**lane.settings.labels)._value.get() == 1
            await _all_landed_once(run, lane, 20)


async def test_one_dead_endpoint_of_three_is_no_outage(run):
    """Catches a lane whose circuit opens, or that goes on sending every third write to nobody."""
    async with doors.opened(run) as three, three.lane() as lane:
        await _append(run, 0, 6)
        await _landed(lane, 6)
        await three.close_door(1)
        for batch in range(6, 40):
            await _append(run, batch, 1)
            await _landed(lane, batch + 1)
        assert lane.circuit.state is breaker.State.CLOSED
        assert (lane.sink.endpoints, lane.sink.endpoints_well) == (3, 2)
        reported = await status.Reporter(lane).report()
        assert (reported.endpoints.known, reported.endpoints.well) == (3, 2)
        wells = metrics.ENDPOINTS.labels(**lane.settings.labels, state="well")
        assert wells._value.get() == 2
        await _all_landed_once(run, lane, 40)


async def test_when_all_are_dead_the_circuit_opens_and_one_that_is_back_closes_it(run):
    """Catches a circuit that each endpoint's trial opens anew although another one works again, and one that never opens."""
    async with doors.opened(run) as three, three.lane() as lane:
        await _append(run, 0, 6)
        await _landed(lane, 6)
        for number in range(3):
            await three.close_door(number)
        await _append(run, 6, 6)
        await lane_run.until(lambda: lane.circuit.state is breaker.State.OPEN, seconds=60.0)
        await three.open_door(2)
        await lane_run.until(lambda: lane.circuit.state is breaker.State.CLOSED, seconds=60.0)
        await _all_landed_once(run, lane, 12)
        assert lane.sink.endpoints_well >= 1


async def test_a_name_that_stands_for_several_hosts_is_followed_as_they_come_and_go(run, monkeypatch):
    """Catches all writes to the first host of a headless service, a host that is never let go of, and one under another name
    than its own: a certificate is of the name."""
    hosts = ["127.0.0.1", "127.0.0.2"]

    async def getaddrinfo(host, port, **_):
        assert host == "warehouse"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port)) for one in hosts]

    monkeypatch.setattr(resolving.asyncio.get_running_loop(), "getaddrinfo", getaddrinfo, raising=False)
    monkeypatch.setattr(sink_client, "_RESOLVE_SECONDS", 0.02)
    dialled: list[tuple[str, object]] = []

    def dial(address, options):
        dialled.append((address, dict(options)["grpc.default_authority"]))
        return sink_channel.dial(address, options)

    first, second = doors.Door(run.store), doors.Door(run.store)
    async with contextlib.AsyncExitStack() as stack:
        served = server.SinkServer(first, sink_type="DuckDB", address="127.0.0.1:0")
        await served.start()
        stack.push_async_callback(served.close, grace_seconds=0.0)
        port = served.address.rpartition(":")[2]
        other = server.SinkServer(second, sink_type="DuckDB", address=f"127.0.0.2:{port}")
        await other.start()
        stack.push_async_callback(other.close, grace_seconds=0.0)
        client = sink_client.SinkClient(f"warehouse:{port}", dial=dial)
        stack.push_async_callback(client.close)
        await client.describe(run.settings.lane, "clicks", writes.numbered(0, 1).schema)
        for number in range(6):
            await client.write(_batch(run, number), deadline_seconds=30.0)
        assert len(first.batches) == len(second.batches) == 3
        assert sorted(dialled) == [(f"{host}:{port}", f"warehouse:{port}") for host in sorted(hosts)]
        hosts[:] = ["127.0.0.2", "127.0.0.3"]
        await lane_run.until(lambda: f"127.0.0.1:{port}" not in client._channels, seconds=60.0)
        before = len(first.batches)
        await client.write(_batch(run, 6), deadline_seconds=30.0)
        assert (len(first.batches), client.endpoints) == (before, 2)


def _dial_one(address: str, options: sink_channel.Options) -> grpc.aio.Channel:
    """A name of one host is left to the channel to look up, which asks nobody that a test can speak for."""
    return sink_channel.dial(address.replace("warehouse", "127.0.0.1"), options)


async def test_a_lane_writes_as_much_at_once_as_all_hosts_can_bear_that_a_name_has_by_now(run, monkeypatch):
    """Catches slots counted once at the start, which leave the hosts idle that a headless service has been given since, and a
    bound that stays when they have gone."""
    hosts = ["127.0.0.1"]

    async def getaddrinfo(host, port, **_):
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port)) for one in hosts]

    monkeypatch.setattr(resolving.asyncio.get_running_loop(), "getaddrinfo", getaddrinfo, raising=False)
    monkeypatch.setattr(sink_client, "_RESOLVE_SECONDS", 0.02)
    released, under_way = asyncio.Event(), 0

    async def hold(_: delivery.SinkBatch) -> None:
        nonlocal under_way
        under_way += 1
        await released.wait()

    three = [doors.Door(run.store) for _ in range(3)]
    async with contextlib.AsyncExitStack() as stack:
        port = "0"
        for number, door in enumerate(three, 1):
            door.before = hold
            served = server.SinkServer(door, sink_type="DuckDB", address=f"127.0.0.{number}:{port}")
            await served.start()
            stack.push_async_callback(served.close, grace_seconds=0.0)
            port = served.address.rpartition(":")[2]
        wide = {
            "write_model": dataclasses.replace(run.settings.write_model, wanted_concurrency=8, maximum_concurrency=8),
            "limits": dataclasses.replace(run.settings.limits, concurrency=8),
        }
        told = dataclasses.replace(run.settings, **wide)
        lane = batcher_lane.Lane(told, run.log, sink_client.SinkClient(f"warehouse:{port}", dial=_dial_one))
        stack.push_async_callback(lane.stop)
        await lane.start()
        await _append(run, 0, 20)
        await lane_run.until(lambda: under_way == lane.dispatcher.slots == 2, seconds=60.0)
        hosts[:] = ["127.0.0.1", "127.0.0.2", "127.0.0.3"]
        await lane_run.until(lambda: under_way == lane.dispatcher.slots == 6, seconds=60.0)
        assert all(door.batches for door in three)
        hosts[:] = ["127.0.0.1"]
        await lane_run.until(lambda: lane.dispatcher.slots == 2, seconds=60.0)
        released.set()
        await _all_landed_once(run, lane, 20)


async def test_a_folder_that_comes_to_have_two_writers_is_not_written_to(run, monkeypatch):
    """Catches two processes that write one folder because its name stood for one host when the lane began."""
    hosts = ["127.0.0.1"]

    async def getaddrinfo(host, port, **_):
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port)) for one in hosts]

    monkeypatch.setattr(resolving.asyncio.get_running_loop(), "getaddrinfo", getaddrinfo, raising=False)
    monkeypatch.setattr(sink_client, "_RESOLVE_SECONDS", 0.02)
    door = doors.Door(run.store)
    door.says["identity"] = delivery.Identity.MANIFEST
    async with contextlib.AsyncExitStack() as stack:
        served = server.SinkServer(door, sink_type="Files", address="127.0.0.1:0")
        await served.start()
        stack.push_async_callback(served.close, grace_seconds=0.0)
        client = sink_client.SinkClient(f"warehouse:{served.address.rpartition(':')[2]}", dial=_dial_one)
        stack.push_async_callback(client.close)
        await client.describe(run.settings.lane, "clicks", writes.numbered(0, 1).schema)
        await client.write(_batch(run, 0), deadline_seconds=30.0)
        hosts.append("127.0.0.2")
        await lane_run.until(lambda: client.endpoints == 2, seconds=60.0)
        with pytest.raises(delivery.WriteFailedError, match="SEVERAL_WRITERS"):
            await client.write(_batch(run, 1), deadline_seconds=30.0)
        assert len(door.batches) == 1


def _batch(run: lane_run.LaneRun, number: int) -> delivery.SinkBatch:
    return dataclasses.replace(
        writes.batch(writes.numbered(number, number + 1), writes.span(number, number + 1)), lane=run.settings.lane
    )
