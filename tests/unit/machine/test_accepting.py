"""Whether a process with an edited object may join the others over their log."""

from __future__ import annotations

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
        self.commits: dict[tuple[str, str], port.Commit] = {}

    async def load_snapshot(self, topic: str, group: str, partition: int, at_most: int) -> port.Snapshot | None:
        return self.snapshots.get(group)

    async def save_snapshot(self, topic: str, group: str, partition: int, snapshot: port.Snapshot) -> None:
        self.snapshots[group] = snapshot

    async def committed(self, topic: str, group: str) -> dict[int, port.Commit]:
        found = self.commits.get((topic, group))
        return {0: found} if found else {}

    async def bounds(self, topic: str, partition: int) -> port.Bounds:
        return port.Bounds(start=0, end=3 if topic == port.EVENTS else 0)


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
    await memory.InLog(log).pin(_object(deduplicate={"key": ["id"]}), {})
    assert "spec.deduplicate.key" in await old.superseded()


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
