"""Named steps at which a test may interfere; nothing happens there otherwise.

What reaches a step calls the failpoint it was given with the step's name. `POINTS` lists them all: machine.failpoints arms
them for `penstock run`, docs/reliability.md shows the table. No state, and nothing is read from outside.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

Failpoint = Callable[[str], None]
"""Called with the name of the step that has just been finished. It may raise OSError where the point `may_fail`."""


def nothing(name: str) -> None:
    """What runs at every step outside tests."""


def within(room: str, failpoint: Failpoint) -> Failpoint:
    """For a room that names its steps without itself: `inserted` within `duckdb` is `duckdb.inserted`."""
    return failpoint if failpoint is nothing else lambda step: failpoint(f"{room}.{step}")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """`happened`: what is true when the step is reached; `may_fail`: a full disk can show itself right there."""

    happened: str
    may_fail: bool = False


POINTS: Mapping[str, Point] = {
    "ingest.composed": Point(happened="events are read and their block is encoded; nothing is in the log"),
    "ingest.appended": Point(happened="the block is durable; no client has been told"),
    "log.written": Point(happened="records and commits of a group are in the open transaction"),
    "log.flushed": Point(happened="the transaction is on the disk; nobody has been told"),
    "log.offsets": Point(happened="a transaction with a lane's offset is on the disk; the lane has not been told"),
    "lane.polled": Point(happened="blocks were read from the log"),
    "lane.decoded": Point(happened="a block's columns are decoded; its duplicates are not known"),
    "lane.judged": Point(happened="the duplicates of the blocks are known"),
    "lane.transformed": Point(happened="rows are made and not yet in the open batch"),
    "lane.dispatched": Point(happened="a batch was frozen and has a slot; nothing was sent"),
    "lane.planned": Point(happened="what a batch is made of is durable; its write has not left"),
    "lane.answered": Point(happened="the sink has answered a write; nothing was counted"),
    "lane.bisecting": Point(happened="a batch with a failure no rule knows is about to be halved"),
    "lane.lettered": Point(happened="dead letters are durable; their rows are not counted as refused"),
    "lane.committing": Point(happened="the lane has decided what to commit; nothing was asked of the log"),
    "lane.committed": Point(happened="offset and ledger are durable"),
    "duckdb.inserted": Point(happened="rows are in the open transaction", may_fail=True),
    "duckdb.journalled": Point(happened="their ranges are too", may_fail=True),
    "duckdb.committed": Point(happened="the transaction is durable; the lane has not been told"),
    "postgres.copied": Point(happened="rows are in the staging table of the open transaction; no lock is held"),
    "postgres.locked": Point(happened="the rows of the batch's partitions are locked; what has landed is known"),
    "postgres.inserted": Point(happened="rows are in the table, in the open transaction"),
    "postgres.journalled": Point(happened="their ranges are noted in the same transaction"),
    "postgres.committed": Point(happened="the transaction is durable; the lane has not been told"),
    "clickhouse.answered": Point(happened="the server has the rows and has said so; the lane has not been told"),
    "kafka.encoded": Point(happened="the records of a write are encoded; nothing was sent"),
    "kafka.acknowledged": Point(happened="the brokers have the records and have said so; the lane has not been told"),
    "files.temporary": Point(happened="one temporary file is durable", may_fail=True),
    "files.complete": Point(happened="all temporary files of the batch are durable", may_fail=True),
    "files.intended": Point(happened="the intent is durable; no file is in its place", may_fail=True),
    "files.moved": Point(happened="one file is in its place", may_fail=True),
    "files.landed": Point(happened="all files are in their places; the lane has not been told"),
    "files.folded": Point(happened="the journal was rewritten, as at each start"),
    "replay.published": Point(happened="letters are durable in their replay log; no marker says so"),
    "replay.marked": Point(happened="their markers are durable"),
}
