"""From a record of the log to columns: a block of our own, or a run of records that others wrote.

What follows needs not know which it was. Only places differ: the events of a block stand at its offset, by ordinal; each
event of a run at its own record's offset.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from penstock.batcher import settings as lane_settings
from penstock.core import blocks
from penstock.core.records import decode, layout
from penstock.log import port

Index = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """`offsets` of the events of a run, None for a block; `unread` are records whose values can't be read."""

    batch: pa.RecordBatch
    offsets: Index | None = None
    times: Index | None = None
    """Append times in microseconds, where they may differ within the record; None where the record tells it for all."""
    tombstones: int = 0
    unread: Sequence[decode.Unread] = ()

    def stretches(self, append_time_microseconds: int) -> Iterator[tuple[int, slice]]:
        """Events of one append time at a time; `append_time_microseconds` is the record's. Times never go back."""
        if self.times is None or not len(self.times):
            yield append_time_microseconds, slice(None)
            return
        times = np.maximum.accumulate(self.times)
        cuts = [0, *(np.flatnonzero(np.diff(times)) + 1).tolist(), len(times)]
        yield from ((int(times[start]), slice(start, stop)) for start, stop in itertools.pairwise(cuts))


def parted(records: Sequence[port.Record], offset: int) -> tuple[list[port.Record], list[port.Record]]:
    """Those below an offset, and the rest; a run that reaches over it is cut in two."""
    below: list[port.Record] = []
    rest: list[port.Record] = []
    for record in records:
        if record.end <= offset:
            below.append(record)
        elif record.offset >= offset or record.rows is None:
            rest.append(record)
        else:
            head = layout.until(record.rows, offset)
            below.append(dataclasses.replace(record, rows=head, span=offset - record.offset))
            tail = record.rows.slice(head.num_rows)
            rest.append(dataclasses.replace(record, rows=tail, offset=offset, span=record.end - offset))
    return below, rest


def for_lane(settings: lane_settings.LaneSettings) -> Decoder:
    """One more of a lane's."""
    return Decoder(decode.Decoder(settings.values(), settings.event_schema) if settings.values else None)


class Decoder:
    """Not thread-safe: each thread needs its own. `runs` is None where the log holds blocks only."""

    def __init__(self, runs: decode.Decoder | None = None) -> None:
        self._runs = runs

    def decode(self, record: port.Record, columns: Sequence[str] | None) -> Decoded:
        """Those columns that there are; None asks for all of a block. Raises CorruptBlockError, BlockFormatError."""
        if record.rows is None:
            return Decoded(batch=blocks.decode(record.value, record.headers, columns=columns))
        if self._runs is None:
            raise blocks.BlockFormatError("records of another source, and this lane reads blocks")
        topic, partition = record.headers[port.TOPIC].decode(), int(record.headers[port.PARTITION])
        read = self._runs.decode(record.rows, decode.Place(topic=topic, partition=partition), columns or ())
        return Decoded(
            batch=read.batch,
            offsets=read.offsets,
            times=read.timestamps if record.append_time_microseconds else None,
            tombstones=read.tombstones,
            unread=read.unread,
        )
