"""Going on after blocks that can't be read: what stands in the way of a lane, and the commit that leaves it out.

The same for a running pipeline, whose lane is ended before and started after, and for a log that nobody has open. What is
skipped is counted as lost in the ledger in the same commit that says so: its events where the blocks' headers tell their
number, else one for each block.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Mapping, Sequence

import structlog

from penstock.batcher import settings as lane_settings
from penstock.core import blocks, ledger, schema, skips
from penstock.log import port
from penstock.telemetry import metrics
from penstock.v1 import control_pb2

_log = structlog.get_logger()

_ONE_RECORD = 1
_HALTS = (port.OffsetOutOfRangeError, port.DamagedLogError, blocks.BlockError)


class SkipRefusedError(Exception):
    """Nothing was skipped; the message says why and what to do."""


class NotOursError(SkipRefusedError):
    """The partition is another process's."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """`partition` None: the only one with something to skip; `to` None: the next block that can be read."""

    partition: int | None = None
    to: int | None = None
    readable_too: bool = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The stretch [start, to) of a partition to leave out, and the commit it starts from."""

    partition: int
    start: int
    to: int
    reason: str
    events: int
    unknown: int
    readable: int
    offset: int
    metadata: ledger.LaneMetadata

    @property
    def lost(self) -> int:
        """What the ledger counts."""
        return self.events + self.unknown


async def plan(log: port.EventLog, lane: lane_settings.LaneSettings, asked: Asked, within: Sequence[int] | None = None) -> Plan:
    """What would be skipped, in the partitions `within`; None means all. Raises SkipRefusedError, LogError."""
    commits = await log.committed(port.EVENTS, lane.lane)
    here = range(log.partitions) if within is None else within
    wanted = here if asked.partition is None else [asked.partition]
    if asked.partition is not None and not asked.partition < log.partitions:
        raise SkipRefusedError(f"--partition {asked.partition}: this log has the partitions 0 to {log.partitions - 1}")
    if asked.partition is not None and asked.partition not in here:
        raise NotOursError(
            f"partition {asked.partition} is not this process's, which has {', '.join(map(str, here)) or 'none'}: ask the others"
        )
    found = [stuck for partition in wanted if (stuck := await _Stretch.find(log, lane, partition, commits.get(partition), asked))]
    if not found:
        raise SkipRefusedError(
            f"{lane.sink}: everything it has not read yet can be read, so there is nothing to skip;"
            " to leave out blocks that can be read, name --partition, --to and --readable-too"
        )
    if len(found) > 1:
        numbers = ", ".join(str(one.partition) for one in found)
        raise SkipRefusedError(f"{lane.sink} is stuck in several partitions ({numbers}): choose one with --partition")
    made = await found[0].plan(asked)
    if made.readable and not asked.readable_too:
        raise SkipRefusedError(
            f"--to {made.to}: {made.readable:,} of the {made.to - made.start:,} blocks from offset {made.start} can be read and"
            " would land; choose a smaller offset or NEXT, or say --readable-too to give them up"
        )
    return made


async def apply(
    log: port.EventLog,
    lane: lane_settings.LaneSettings,
    made: Plan,
    commit: Callable[[Mapping[int, port.Commit]], Awaitable[None]] | None = None,
) -> None:
    """Commit the plan: with `commit` of a member that reads no more, or for a group without members.

    Raises SkipRefusedError, LogError.
    """
    start = (await log.bounds(port.EVENTS, made.partition)).start
    skipped = skips.merged([*made.metadata.skipped, (made.start, made.to)], above=start)
    if len(skipped) > skips.MOST:
        raise SkipRefusedError(
            f"{lane.sink} has left out {skips.MOST} stretches of partition {made.partition} already, which is all that can be"
            " remembered: restore the log from a copy, or begin with an empty one (docs/troubleshooting.md)"
        )
    at_once = made.start <= made.offset
    metadata = dataclasses.replace(
        made.metadata,
        counts=dataclasses.replace(made.metadata.counts, lost=made.metadata.counts.lost + made.lost),
        skipped=skipped,
        producers={} if at_once else made.metadata.producers,
        starts=0,
        suspect=None,
    )
    after = port.Commit(offset=made.to if at_once else made.offset, metadata=ledger.to_metadata(metadata))
    if commit is not None:
        await commit({made.partition: after})
    else:
        await log.commit_for(port.EVENTS, lane.lane, {made.partition: after})
    metrics.LANE_EVENTS.labels(**lane.labels, outcome="lost").inc(made.lost)
    _log.warning(
        "skipped",
        sink=lane.sink,
        partition=made.partition,
        start=made.start,
        to=made.to,
        events=made.events,
        blocks_unknown=made.unknown,
        reason=made.reason,
    )


def message(made: Plan, *, done: bool) -> control_pb2.SkipResponse:
    """The plan as the control socket says it; `from` is a word of Python's."""
    return control_pb2.SkipResponse(
        **{"from": made.start},
        partition=made.partition,
        to=made.to,
        blocks=made.to - made.start,
        blocks_unknown=made.unknown,
        blocks_readable=made.readable,
        events=made.events,
        reason=made.reason,
        done=done,
    )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Stretch:
    """Where a lane is stuck in one partition, or where it is told to leave something out."""

    log: port.EventLog
    declared: schema.Schema
    partition: int
    offset: int
    metadata: ledger.LaneMetadata
    bounds: port.Bounds
    start: int
    reason: str

    @classmethod
    async def find(
        cls,
        log: port.EventLog,
        lane: lane_settings.LaneSettings,
        partition: int,
        commit: port.Commit | None,
        asked: Asked,
    ) -> _Stretch | None:
        declared = lane.event_schema
        bounds = await log.bounds(port.EVENTS, partition)
        metadata = ledger.from_metadata(commit.metadata) if commit else ledger.LaneMetadata(start_offset=bounds.start)
        offset = commit.offset if commit else bounds.start
        at, reason = offset, ""
        while at < bounds.end and not reason:
            if (beyond := skips.end_of(metadata.skipped, at)) is not None:
                at = beyond
            else:
                reason, beyond = await _trouble(log, declared, partition, at)
                at = at if reason else min(beyond, bounds.end)
        if not reason:
            if asked.to is None or not asked.readable_too or asked.partition is None:
                return None
            at, reason = offset, "told to"
        return cls(
            log=log,
            declared=declared,
            partition=partition,
            offset=offset,
            metadata=metadata,
            bounds=bounds,
            start=at,
            reason=reason,
        )

    async def plan(self, asked: Asked) -> Plan:
        if asked.to is not None and not self.start < asked.to <= self.bounds.end:
            raise SkipRefusedError(
                f"--to {asked.to}: the lane is stuck at offset {self.start} of partition {self.partition}, which ends at"
                f" {self.bounds.end}; choose an offset after the first and up to the second, or NEXT"
            )
        to = self.start
        events = unknown = readable = 0
        while to < self.bounds.end and to != asked.to:
            if to < self.bounds.start:
                # Nothing is known of what has left the log.
                gone = min(self.bounds.start, asked.to or self.bounds.start)
                unknown, to = unknown + gone - to, gone
                continue
            trouble, _ = await _trouble(self.log, self.declared, self.partition, to)
            if not trouble and asked.to is None:
                break
            rows = await _rows(self.log, self.partition, to)
            events, unknown, readable = events + (rows or 0), unknown + (rows is None), readable + (not trouble)
            to += 1
        return Plan(
            partition=self.partition,
            start=self.start,
            to=to,
            reason=self.reason,
            events=events,
            unknown=unknown,
            readable=readable,
            offset=self.offset,
            metadata=self.metadata,
        )


async def _trouble(log: port.EventLog, declared: schema.Schema, partition: int, offset: int) -> tuple[str, int]:
    """Why this block can't be read, empty where it can; and the offset behind it."""
    try:
        found = await log.read(port.EVENTS, partition, offset, max_bytes=_ONE_RECORD)
        if not found or found[0].rows is not None:
            # What others wrote can always be read: what is wrong with a record is its own dead letter's business.
            return "", found[0].end if found else (await log.bounds(port.EVENTS, partition)).end
        names = [field.name for field in declared.fields]
        batch = blocks.decode(found[0].value, found[0].headers, columns=names)
        blocks.conform(batch, schema.arrow_schema(declared))
    except _HALTS as error:
        return f"{_CODES.get(type(error), type(error).__name__)}: {error}", offset
    return "", offset + 1


_CODES = {
    port.OffsetOutOfRangeError: "LogGap",
    port.DamagedLogError: "DamagedLog",
    blocks.CorruptBlockError: "CorruptBlock",
    blocks.BlockFormatError: "BlockFormat",
}


async def _rows(log: port.EventLog, partition: int, offset: int) -> int | None:
    """The events of a block by its headers; None where those can't be read either."""
    found = await log.headers(port.EVENTS, partition, offset + 1, limit=1)
    if not found or found[0].offset != offset:
        return None
    try:
        return blocks.read_header(found[0].headers).rows
    except blocks.BlockError:
        return None
