"""The bytes an event came in, read back from its block; only dead letters ever ask."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec
import numpy as np
import pyarrow as pa

from penstock.core import addresses, blocks, deadletters
from penstock.core.records import decode, layout
from penstock.log import port


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Original:
    """One event as it came; an event of the Arrow door has no bytes, so its columns are rendered as JSON."""

    document: bytes
    format: deadletters.OriginalFormat
    received_at_microseconds: int
    record: deadletters.Record | None = None
    """What it came in, where that was a record of somebody's topic."""


class Source(Protocol):
    """The events of one record of the log."""

    def event(self, place: addresses.Position) -> Original: ...


def of(record: port.Record, form: deadletters.OriginalFormat) -> Source:
    """`form`: of the values of records that others write. Raises CorruptBlockError."""
    return OriginalRecords(record, form) if record.rows is not None else Originals(record.value, record.headers)


def of_record(
    place: decode.Place,
    form: deadletters.OriginalFormat,
    offset: int,
    timestamp_microseconds: int,
    key: bytes | None,
    value: bytes,
    headers: Sequence[tuple[str, bytes | None]],
) -> Original:
    """One record of a topic, byte for byte."""
    return Original(
        document=value,
        format=form,
        received_at_microseconds=timestamp_microseconds,
        record=deadletters.Record(
            topic=place.topic,
            partition=place.partition,
            offset=offset,
            timestamp_microseconds=timestamp_microseconds,
            key=key,
            headers=tuple(headers),
        ),
    )


class OriginalRecords:
    """Of a run, by the offset of each."""

    def __init__(self, record: port.Record, form: deadletters.OriginalFormat) -> None:
        assert record.rows is not None  # noqa: S101 - a run has them
        self._rows, self._format = record.rows, form
        self._place = decode.Place(topic=record.headers[port.TOPIC].decode(), partition=int(record.headers[port.PARTITION]))

    def event(self, place: addresses.Position) -> Original:
        at = int(np.searchsorted(layout.integers(self._rows, layout.OFFSET), place.offset))
        one = self._rows.slice(at, 1).to_pylist()[0]
        return of_record(
            self._place,
            self._format,
            one[layout.OFFSET],
            max(0, one[layout.TIMESTAMP]) * 1_000,
            one[layout.KEY],
            one[layout.VALUE],
            layout.unpacked(one[layout.HEADERS]),
        )


class Originals:
    """All events of one block by ordinal. Raises CorruptBlockError when made of bytes that are no block."""

    def __init__(self, value: bytes, headers: Mapping[str, bytes]) -> None:
        self._batch = blocks.decode(value, headers)

    def event(self, place: addresses.Position) -> Original:
        ordinal = place.ordinal
        document = self._batch.column(blocks.ORIGINAL)[ordinal].as_py()
        received = self._batch.column(blocks.RECEIVED_AT).cast(pa.int64())[ordinal].as_py()
        if document is not None:
            return Original(document=document, format=deadletters.OriginalFormat.JSON, received_at_microseconds=received)
        return Original(
            document=self._rendered(ordinal), format=deadletters.OriginalFormat.ARROW, received_at_microseconds=received
        )

    def _rendered(self, ordinal: int) -> bytes:
        row = self._batch.slice(ordinal, 1).to_pylist()[0]
        shown = {name: value for name, value in row.items() if not name.startswith("_")}
        return msgspec.json.encode(shown)
