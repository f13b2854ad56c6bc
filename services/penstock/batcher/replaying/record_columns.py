"""The columns `kafka_*` of replayed events, from what their letters say of the records they came in.

They hold what the source's own reading gave the first time; a letter that knows of no record, such as one of an event that was
sent to a door, has NULL in all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec
import pyarrow as pa

from penstock.core import deadletters
from penstock.core import schema as schemas


def with_columns(batch: pa.RecordBatch, letters: Sequence[deadletters.DeadLetter], schema: schemas.Schema) -> pa.RecordBatch:
    """`batch` and the columns that the source adds to the schema, if any; one letter for each row."""
    for field in schemas.added_fields(schema):
        told = _TOLD.get(field.name)
        if told:
            values = [told(letter.record) if letter.record else None for letter in letters]
            batch = batch.append_column(field, pa.array(values, field.type))
    return batch


def _headers(record: deadletters.Record) -> str | None:
    """An object of texts; of a name that comes twice the last."""
    texts = {name: None if value is None else value.decode("utf-8", "replace") for name, value in record.headers}
    return msgspec.json.encode(texts).decode() if texts else None


_TOLD: Mapping[str, Callable[[deadletters.Record], object]] = {
    "kafka_key": lambda record: record.key,
    "kafka_topic": lambda record: record.topic,
    "kafka_partition": lambda record: record.partition,
    "kafka_offset": lambda record: record.offset,
    "kafka_timestamp": lambda record: record.timestamp_microseconds,
    "kafka_headers": _headers,
}
