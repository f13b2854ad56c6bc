"""Cases that the design's own argument names and no other test has; docs/reliability.md lists all of them with their tests."""

from __future__ import annotations

import pathlib

import msgspec
from tests.integration import lane_run, processes, running

from penstock.core import ledger

_ITEMS = 500_000
_SPLIT = {
    "explode": {"field": "items", "as": "item", "indexAs": "at"},
    "select": [{"name": "id"}, {"name": "num", "value": "at"}],
}


def _in_namespace(name: str) -> str:
    described = msgspec.yaml.decode(lane_run.PIPELINE)
    described["metadata"]["namespace"] = name
    return msgspec.yaml.encode(described).decode()


async def test_two_pipelines_of_one_name_in_two_namespaces_share_a_table_and_each_lands_its_rows(tmp_path: pathlib.Path) -> None:
    """Catches identity without the namespace: the store would take the second one's rows for the first one's."""
    for namespace in ("blue", "green"):
        run = lane_run.LaneRun(tmp_path, _in_namespace(namespace))
        async with run.opened():
            if namespace == "blue":
                await run.append(*lane_run.events(0, 10))
            async with run.lane() as lane:
                assert (await lane_run.drained(lane)).written == 10
            landed = await run.rows()
    assert landed == sorted(2 * lane_run.wanted(0, 10))


async def test_an_event_of_half_a_million_rows_lands_over_many_batches_once(tmp_path: pathlib.Path) -> None:
    """Catches a batch without bound, and a re-reading after a crash half-way that lands what was there."""
    batching = {"static": {"rows": 50_000, "lingerMilliseconds": 20}, "limits": {"rows": 60_000}}
    text = lane_run.pipeline(transform=_SPLIT, sink_batching=batching)
    async with lane_run.LaneRun(tmp_path, text).opened() as run:
        await run.append({"id": "huge", "items": [1] * _ITEMS})
        async with run.lane() as lane:
            await lane_run.until(lambda: lane.accounts.totals().read == 1 or len(run.store.batches) > 3, 60.0)
        await run.rewind(0, ledger.LaneMetadata())
        async with run.lane() as lane:
            totals = await lane_run.drained(lane, 60.0)
        assert totals.written == _ITEMS
        assert max(batch.rows.num_rows for batch in run.store.batches) <= 60_000
        assert len(run.store.batches) > _ITEMS // 60_000
        assert await run.rows("SELECT count(*), count(DISTINCT num) FROM clicks") == [(_ITEMS, _ITEMS)]


def test_a_batcher_more_than_there_are_partitions_waits_and_takes_over(kafka_server, tmp_path: pathlib.Path) -> None:
    """Catches a surplus process that never becomes ready, halts for want of work, or misses the partition when its owner dies."""
    described = msgspec.yaml.decode(processes.pipeline(kafka_server.bootstrap))
    described["spec"]["log"]["kafka"]["partitions"] = 1
    with processes.Site(tmp_path, msgspec.yaml.encode(described).decode()) as site:
        site.start(batchers=2)
        site.send(500)
        site.settle()
        owner = running.until(lambda: next((one for one in site.batchers if one.partitions() == [0]), None), site.said)
        (spare,) = (one for one in site.batchers if one is not owner)
        assert (spare.partitions(), [lane.state for lane in site.lanes()]) == ([], ["Running", "Running"])
        owner.kill()
        site.send(500)
        running.until(lambda: spare.partitions() == [0] or None, site.said)
        site.settle()
