"""Whether a process with an edited object may join the others over their log."""

from __future__ import annotations

import asyncio
import dataclasses

import msgspec
import pytest
from tests.unit.api import examples

from penstock.core import ledger
from penstock.log import port
from penstock.machine import accepting, lanes, memory, retired

_SCHEMA = {"fields": [{"name": "id", "type": "String", "required": True}, {"name": "user", "type": "Int64", "required": True}]}


class _Log:
    """What a log remembers, with one partition of three blocks."""

    partitions = 1

    def __init__(self) -> None:
        self.snapshots: dict[str, port.Snapshot] = {}
        self.records: list[port.Record] = []
        self.commits: dict[tuple[str, str], port.Commit] = {}

    async def load_snapshot(self, topic: str, group: str, partition: int, at_most: int) -> port.Snapshot | None:
        return self.snapshots.get(group)

    async def append(self, topic: str, partition: int, record: port.NewRecord) -> port.Appended:
        self.records.append(
            port.Record(
                topic=topic,
                partition=partition,
                offset=len(self.records),
                append_time_microseconds=0,
                value=record.value,
                headers=record.headers,
                producer=record.producer,
                sequence=record.sequence,
            )
        )
        return port.Appended(offset=len(self.records) - 1, append_time_microseconds=0)

    async def read(self, topic: str, partition: int, offset: int, *, max_bytes: int) -> list[port.Record]:
        await asyncio.sleep(0)
        return self.records[offset:]

    async def committed(self, topic: str, group: str) -> dict[int, port.Commit]:
        found = self.commits.get((topic, group))
        return {0: found} if found else {}

    async def bounds(self, topic: str, partition: int) -> port.Bounds:
        return port.Bounds(start=0, end={port.EVENTS: 3, port.ACCEPTED: len(self.records)}.get(topic, 0))


def _object(**spec: object):
    sinks = spec.pop("sinks", None) or [{"name": "warehouse", "type": "DuckDB", "duckDB": {"path": "a.duckdb", "table": "t"}}]
    kafka = {"type": "Kafka", "kafka": {"bootstrapServers": ["a:1"]}}
    return examples.made(**{"log": kafka, "schema": _SCHEMA, "deduplicate": {"key": ["user", "id"]}, "sinks": sinks} | spec)


def _sinks(*names: str) -> list[dict[str, object]]:
    return [{"name": name, "type": "DuckDB", "duckDB": {"path": "a.duckdb", "table": "t"}} for name in names]


async def test_an_edit_that_unread_events_forbid_waits_until_the_lanes_have_read_them() -> None:
    """Catches a process that deduplicates by another key over the same events, and one that refuses it for ever."""
    log = _Log()
    await accepting.Accepting(_object(), log).admit()
    edited = accepting.Accepting(_object(deduplicate={"key": ["id"]}), log)
    with pytest.raises(accepting.EditRefusedError, match=r"spec\.deduplicate\.key.*drain first"):
        await edited.admit()
    lane = lanes.lane_for(_object(), _object().spec.sinks[0]).lane
    log.commits[port.EVENTS, lane] = port.Commit(offset=3, metadata=ledger.to_metadata(ledger.LaneMetadata()))
    await edited.admit()
    assert await memory.InLog(log).pinned() == _object(deduplicate={"key": ["id"]})


async def test_doors_with_the_old_object_hear_that_theirs_is_superseded_and_only_then() -> None:
    """Catches old doors that go on partitioning in the old way, and a roll-out that shuts doors for an added field."""
    log = _Log()
    old = accepting.Accepting(_object(), log)
    await old.admit()
    assert not await old.superseded()
    wider = {"fields": [*_SCHEMA["fields"], {"name": "note", "type": "String"}]}
    await accepting.Accepting(_object(schema=wider, sinks=_sinks("warehouse", "archive")), log).admit()
    assert not await old.superseded()
    kept = memory.InLog(log)
    assert await kept.replace(await kept.newest(), _object(deduplicate={"key": ["id"]}), {})
    assert "spec.deduplicate.key" in await old.superseded()


async def test_of_two_that_start_at_once_with_different_objects_one_is_an_edit_of_the_other() -> None:
    """Catches two processes that have both had their object accepted, over unread events that allow one of them only."""
    log = _Log()
    mine, other = _object(), _object(deduplicate={"key": ["id"]})
    done = await asyncio.gather(*(accepting.Accepting(one, log).admit() for one in (mine, other)), return_exceptions=True)
    [refused] = [one for one in done if one is not None]
    assert isinstance(refused, accepting.EditRefusedError)
    assert "spec.deduplicate.key" in str(refused)
    assert await memory.InLog(log).pinned() == (other if done[0] else mine)


async def test_what_was_written_over_an_older_version_never_counts() -> None:
    """Catches a process that read, stood still, and puts back what was changed meanwhile; and one that takes another's word for
    its own, or its own that came twice for a second one."""
    log = _Log()
    kept, late = memory.InLog(log), memory.InLog(log)
    first = await late.newest()
    assert await kept.replace(await kept.newest(), _object(), {})
    assert not await late.replace(first, _object(sinks=_sinks("other")), {})
    log.records.append(dataclasses.replace(log.records[0], offset=len(log.records)))
    assert await kept.pinned() == await late.pinned() == _object()
    assert (await kept.newest()).number == 1
    await kept.retire({"gone": 5})
    assert (await late.retired(), await late.pinned()) == ({"gone": 5}, _object())


async def test_what_a_former_release_has_remembered_is_gone_on_from() -> None:
    """Catches an edit that is not held against the object that the log was last run with, because that stood elsewhere."""
    log = _Log()
    text = _object().model_dump_json(by_alias=True, exclude_unset=True)
    log.snapshots["accepted"] = port.Snapshot(offset=1, content=msgspec.json.encode({"pipeline": text, "retired": {"old": 1}}))
    with pytest.raises(accepting.EditRefusedError):
        await accepting.Accepting(_object(deduplicate={"key": ["id"]}), log).admit()
    await accepting.Accepting(_object(sinks=_sinks("warehouse", "archive")), log).admit()
    assert await memory.InLog(log).retired() == {"old": 1}


async def test_a_sink_that_went_holds_the_log_and_so_does_one_that_only_others_have() -> None:
    """Catches events that a removed sink has not read and that go at once, and those of a sink added in the middle of a roll."""
    log = _Log()
    both, alone = _object(sinks=_sinks("warehouse", "archive")), _object(sinks=_sinks("warehouse"))
    archive = lanes.lane_for(both, both.spec.sinks[1]).lane
    await accepting.Accepting(both, log).admit()
    assert await retired.Retired(memory.InLog(log), alone, log, shared=True).groups() == [archive]
    await accepting.Accepting(alone, log).admit()
    kept = retired.Retired(memory.InLog(log), alone, log, shared=True)
    assert await kept.groups() == [archive]
    await memory.InLog(log).retire({})
    assert await kept.groups() == []


async def test_an_object_of_a_later_release_is_no_traceback() -> None:
    """Catches a roll back of the release that dies of what the newer one has written."""
    log = _Log()
    log.snapshots["accepted"] = port.Snapshot(offset=1, content=b'{"pipeline": "{\\"spec\\": 1}", "retired": {}}')
    with pytest.raises(port.LogError, match="newer one"):
        await accepting.Accepting(_object(), log).admit()
