"""Batches for the tests of sinks."""

from __future__ import annotations

import pyarrow as pa

from penstock.core import addresses, delivery

LANE = "web/clicks/warehouse"


def span(start: int, end: int, *, partition: int = 0, log_id: str = "log") -> addresses.Range:
    """Whole blocks `start` to `end` of one partition."""
    return addresses.Range(log_id, partition, addresses.Position(start), addresses.Position(end))


def batch(rows: pa.Table, *ranges: addresses.Range, table: str = "clicks", lane: str = LANE, finished_below: int = 0):
    """Rows made from `ranges`, with a watermark in partition 0."""
    mark = delivery.Watermark(log_id="log", partition=0, position=addresses.Position(finished_below))
    return delivery.SinkBatch(lane=lane, table=table, ranges=ranges, token="", finished_below=[mark], key_columns=(), rows=rows)


def numbered(start: int, end: int) -> pa.Table:
    """One row per block offset, so that rows and ranges can be compared."""
    names = pa.array([f"row {number}" for number in range(start, end)], pa.string())
    return pa.table({"id": pa.array(range(start, end), pa.int64()), "name": names})
