"""Chunks for the tests of batches: rows by (offset, ordinal, item)."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from penstock.core import addresses
from penstock.core.batching import chunks
from penstock.core.transform import spec


def chunk(offset: int, rows_per_event: list[int], *, partition: int = 0, born: float = 0.0) -> chunks.Chunk:
    """One block at `offset`; event i of it makes rows_per_event[i] rows."""
    events = np.repeat(np.arange(len(rows_per_event), dtype=np.int32), rows_per_event)
    items = np.concatenate([np.arange(count, dtype=np.int32) for count in rows_per_event] or [np.array([], np.int32)])
    table = pa.table(
        {
            spec.EVENT_COLUMN: pa.array(events, pa.int32()),
            spec.ITEM_COLUMN: pa.array(items.astype(np.int32), pa.int32()),
            "value": pa.array([f"{partition}/{offset}/{event}" for event in events], pa.string()),
        }
    )
    return chunks.Chunk(
        range=addresses.Range("log", partition, addresses.Position(offset), addresses.Position(offset + 1)),
        rows=table,
        events=chunks.Events(
            offsets=np.full(len(rows_per_event), offset, dtype=np.int64),
            ordinals=np.arange(len(rows_per_event), dtype=np.int64),
        ),
        born=born,
        bytes=table.nbytes,
    )
