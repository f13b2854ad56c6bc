"""What processes that share a log leave in it for each other, on a real broker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence

import msgspec
import pytest
from tests.integration import processes, running

from penstock.api import load
from penstock.api.model import pipeline as api_pipeline
from penstock.core import ledger
from penstock.log import port
from penstock.machine import accepting, lanes, memory, opening, renames, retention, retired, secrets

_BOUND_BYTES = 1 << 20
_STORE = {"type": "DuckDB", "duckDB": {"path": "orders.duckdb", "table": "orders"}}


class _Nobody:
    async def on_assigned(self, commits: Mapping[int, port.Commit | None]) -> None: ...

    async def on_revoked(self, partitions: Sequence[int]) -> None: ...


def _object(text: str, **sinks: Mapping[str, object]) -> api_pipeline.BatchPipeline:
    """The pipeline with these sinks, by name."""
    described = msgspec.yaml.decode(text)
    described["spec"]["sinks"] = [{"name": name, **_STORE, **more} for name, more in sinks.items()]
    return load.load_one(msgspec.yaml.encode(described).decode())


@pytest.fixture
def text(kafka_server) -> str:
    return processes.pipeline(kafka_server.bootstrap)


@pytest.fixture
async def log(text: str):
    opened = await opening.open_log(load.load_one(text), None, secrets.SecretStore(None, {}, ()))
    yield opened
    await opened.close()


def _group(pipeline: api_pipeline.BatchPipeline, number: int = 0) -> str:
    return lanes.lane_for(pipeline, pipeline.spec.sinks[number]).lane


async def _fill(log: port.EventLog, blocks: int, size: int = 100) -> None:
    """Blocks in the first partition."""
    for sequence in range(blocks):
        new = port.NewRecord(value=b"v" * size, headers={}, producer=f"p{time.monotonic_ns()}", sequence=sequence)
        await log.append(port.EVENTS, 0, new)


def _at(offset: int) -> dict[int, port.Commit]:
    return {0: port.Commit(offset=offset, metadata=ledger.to_metadata(ledger.LaneMetadata()))}


async def test_a_group_with_members_takes_no_commit_of_others(log: port.EventLog) -> None:
    """Catches a skip or a rename that moves the position of a lane which runs."""
    await log.commit_for(port.EVENTS, "lane", _at(1))
    subscription = await log.subscribe(port.EVENTS, "lane", _Nobody())
    await subscription.poll(max_bytes=1, timeout_seconds=0.0)
    with pytest.raises(port.GroupInUseError):
        await log.commit_for(port.EVENTS, "lane", _at(2))
    assert (await log.committed(port.EVENTS, "lane"))[0].offset == 1
    await subscription.close()
    await log.commit_for(port.EVENTS, "lane", _at(3))
    assert (await log.committed(port.EVENTS, "lane"))[0].offset == 3


async def test_a_renamed_sink_waits_for_the_old_one_and_then_any_number_of_processes_carry_it_over(
    log: port.EventLog, text: str
) -> None:
    """Catches two processes that take each other's partitions while they copy, an old process that goes on beside the new ones,
    and a copy of a lane that has not finished, whose store would take the same rows under the new name again."""
    old, new = _object(text, warehouse={}), _object(text, depot={"renamedFrom": "warehouse"})
    await _fill(log, 3)
    await log.commit_for(port.EVENTS, _group(old), _at(2))
    with pytest.raises(renames.RenameWaitsError, match="1 blocks are unread"):
        await renames.carry_over(log, new)
    member = await log.subscribe(port.EVENTS, _group(old), _Nobody())
    with pytest.raises(renames.RenameWaitsError, match="end them first"):
        await renames.carry_over(log, new)
    await member.close()
    await log.commit_for(port.EVENTS, _group(old), _at(3))
    await asyncio.gather(*(renames.carry_over(log, new) for _ in range(3)))
    assert (await log.committed(port.EVENTS, _group(new)))[0].offset == 3
    await log.commit_for(port.EVENTS, _group(new), _at(4))
    await renames.carry_over(log, new)
    assert (await log.committed(port.EVENTS, _group(new)))[0].offset == 4


async def test_of_several_files_at_the_same_moment_the_log_takes_one_and_refuses_the_others_by_name(log, text) -> None:
    """Catches two processes that run on with different keys over the same events, each believing that its file is in force."""
    described = msgspec.yaml.decode(text)
    objects = []
    for key in (["customer"], ["id"], ["customer", "id"]):
        described["spec"]["deduplicate"]["key"] = key
        described["spec"]["source"]["ingest"]["partitionBy"] = key
        objects.append(load.load_one(msgspec.yaml.encode(described).decode()))
    await _fill(log, 2)
    done = await asyncio.gather(*(accepting.Accepting(one, log).admit() for one in objects), return_exceptions=True)
    [first] = [at for at, one in enumerate(done) if one is None]
    assert await memory.InLog(log).pinned() == objects[first]
    for refused in done[:first] + done[first + 1 :]:
        assert isinstance(refused, accepting.EditRefusedError)
        assert "spec.deduplicate.key" in str(refused)


async def test_a_removed_sink_holds_the_log_until_it_is_dropped(log: port.EventLog, text: str) -> None:
    """Catches unread events that go when a process starts with an object that lacks their sink, whoever trims: the last one with
    the old object, or the first one with the new."""
    both, alone = _object(text, warehouse={}, archive={}), _object(text, warehouse={})
    await accepting.Accepting(both, log).admit()
    await _fill(log, 5)
    await log.commit_for(port.EVENTS, _group(both), _at(5))
    await log.commit_for(port.EVENTS, _group(both, 1), _at(2))
    kept = retired.Retired(memory.InLog(log), alone, log, shared=True)

    async def start() -> int:
        groups = [_group(alone), *await kept.groups()]
        await retention.trim(log, groups, keep_seconds=-60.0, window_seconds=-60.0)
        return (await log.bounds(port.EVENTS, 0)).start

    assert await start() == 2
    await accepting.Accepting(alone, log).admit()
    assert await start() == 2
    (told,) = await kept.report()
    assert (told.sink, told.blocks) == ("archive", 3)
    assert (await kept.drop("archive", confirmed=True)).done
    assert await start() == 5
    with pytest.raises(port.OffsetOutOfRangeError):
        await log.read(port.EVENTS, 0, 2, max_bytes=1)


async def test_the_bound_of_the_log_holds_on_brokers_and_trimming_makes_room(log: port.EventLog, text: str) -> None:
    """Catches a bound that is asked of nobody, and one that counts what was trimmed: a broker keeps the segment it writes, so
    doors would stay shut for good."""
    described = msgspec.yaml.decode(text)
    described["spec"]["log"]["retention"] = {"maxBytes": _BOUND_BYTES}
    bounded = await opening.open_log(
        load.load_one(msgspec.yaml.encode(described).decode()), None, secrets.SecretStore(None, {}, ())
    )
    try:
        await _fill(bounded, 3, 300_000)
        with pytest.raises(port.LogFullError, match=r"retention\.maxBytes"):
            await _fill(bounded, 1, 300_000)
        assert (await log.bounds(port.EVENTS, 0)).end == 3
        await log.commit_for(port.EVENTS, "lane", _at(3))
        keep = retention.keep_seconds(48, await bounded.size_bytes(), _BOUND_BYTES)
        # Append times are the broker's, of the same millisecond as this one at best.
        assert await retention.trim(bounded, ["lane"], keep_seconds=keep - 60.0, window_seconds=-60.0) == 3
        for _ in range(int(5 * running.PATIENCE_SECONDS)):
            if await _accepts(bounded):
                break
            await asyncio.sleep(0.2)
        assert (await log.bounds(port.EVENTS, 0)).end == 4
    finally:
        await bounded.close()


async def _accepts(log: port.EventLog) -> bool:
    try:
        await _fill(log, 1, 300_000)
    except port.LogFullError:
        return False
    return True
