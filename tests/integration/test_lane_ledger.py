"""The books of a lane while it works: they balance at every look, not only when all is quiet."""

from __future__ import annotations

import asyncio
import pathlib
from collections.abc import Callable

from tests.integration import lane_run

from penstock.batcher import lane as batcher_lane
from penstock.batcher import status
from penstock.core import delivery, results
from penstock.log import port
from penstock.v1 import control_pb2


async def _looked(
    lane: batcher_lane.Lane, is_there: Callable[[control_pb2.Ledger], bool], reporter: status.Reporter
) -> list[control_pb2.Ledger]:
    """The ledger at every look until `is_there`."""
    seen = []
    async with asyncio.timeout(30):
        while not seen or not is_there(seen[-1]):
            seen.append((await reporter.report()).ledger)
            await asyncio.sleep(0)
    return seen


async def test_rows_that_wait_for_their_letters_are_in_flight(tmp_path: pathlib.Path) -> None:
    """Catches an alarm for rows that nothing has happened to but a slow append of their letters."""
    failing = {"select": [{"name": "id"}, {"name": "num", "value": "cast(kind as integer)"}]}
    async with lane_run.LaneRun(tmp_path, lane_run.pipeline(transform=failing)).opened() as run:
        append, letters_may_go = run.log.append, asyncio.Event()

        async def slow(topic: str, partition: int, record: port.NewRecord) -> port.Appended:
            if topic == port.DEAD_LETTERS:
                await letters_may_go.wait()
            return await append(topic, partition, record)

        run.log.append = slow  # type: ignore[method-assign]
        async with run.lane() as lane:
            reporter = status.Reporter(lane)
            await run.append({"id": "a", "kind": "1"}, {"id": "b", "kind": "x"}, {"id": "c", "kind": "3"})
            seen = await _looked(lane, lambda ledger: ledger.rows_written == 2, reporter)
            assert seen[-1].rows_in_flight == 1
            letters_may_go.set()
            seen += await _looked(lane, lambda ledger: ledger.rows_dead_lettered == 1, reporter)
    assert {ledger.unexplained for ledger in seen} == {0}


async def test_a_batch_that_lost_rows_and_waits_for_its_store_is_counted_once(tmp_path: pathlib.Path) -> None:
    """Catches refused rows that count as dead letters and as in flight for as long as the store is away."""
    refused = results.RejectedRow(row=0, result_class=results.ResultClass.DATA, code="NO", message="as told")
    async with lane_run.LaneRun(tmp_path).opened() as run:
        run.store.plan.append(lambda _: delivery.WriteResult(rejected=[refused]))
        run.store.plan.extend([lane_run.fail(results.ResultClass.OUTAGE)] * 3)
        async with run.lane() as lane:
            reporter = status.Reporter(lane)
            await run.append(*({"id": str(number)} for number in range(5)))
            seen = await _looked(lane, lambda ledger: ledger.rows_written == 4, reporter)
            seen += await _looked(lane, lambda ledger: not ledger.rows_in_flight, reporter)
    assert any((ledger.rows_dead_lettered, ledger.rows_in_flight) == (1, 4) for ledger in seen)
    assert {ledger.unexplained for ledger in seen} == {0}
