"""What expressions may read of each record beside its value."""

from __future__ import annotations

from penstock.core import schema

FIELDS = (
    schema.Field(name="kafka_key", type=schema.FieldType.BYTES),
    schema.Field(name="kafka_topic", type=schema.FieldType.STRING),
    schema.Field(name="kafka_partition", type=schema.FieldType.INT32),
    schema.Field(name="kafka_offset", type=schema.FieldType.INT64),
    schema.Field(name="kafka_timestamp", type=schema.FieldType.TIMESTAMP),
    schema.Field(name="kafka_headers", type=schema.FieldType.JSON),
)
