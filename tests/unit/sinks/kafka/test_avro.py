"""Avro as another implementation reads it."""

import datetime
import io
import math

import fastavro
import hypothesis
import pyarrow as pa
import pytest
from tests.unit.sinks.kafka import columns

from penstock.core import results
from penstock.sinks import port
from penstock.sinks.kafka import avro


def read_back(rows):
    parsed = fastavro.parse_schema(avro.schema("row", rows.schema))
    found = avro.records([column.chunk(0) for column in rows.columns]).to_pylist()
    streams = [io.BytesIO(one) for one in found]
    read = [fastavro.schemaless_reader(stream, parsed) for stream in streams]
    assert all(not stream.read() for stream in streams)
    return read


def plain(value):
    if isinstance(value, float) and math.isnan(value):
        return "NaN"
    if isinstance(value, datetime.datetime) and value.tzinfo:
        return value.astimezone(datetime.UTC)
    if isinstance(value, dict):
        return {name: plain(one) for name, one in value.items()}
    return [plain(one) for one in value] if isinstance(value, list) else value


@hypothesis.settings(max_examples=80, deadline=None)
@hypothesis.given(columns.tables())
def test_fastavro_reads_what_was_written(rows):
    """Catches a wrong byte in any type: a sign, a length, a branch of a union, the end of an array."""
    assert [plain(row) for row in read_back(rows)] == [plain(row) for row in rows.to_pylist()]


@pytest.mark.parametrize("kind", [pa.uint64(), pa.map_(pa.string(), pa.int64()), pa.time64("ns"), pa.decimal256(60, 4)], ids=str)
def test_a_type_that_avro_lacks_is_a_misconfiguration_with_a_way_out(kind):
    """Catches a value that is cut to fit."""
    with pytest.raises(port.SinkError, match="Avro has no type") as caught:
        avro.schema("row", pa.schema([("x", kind)]))
    assert caught.value.failure.result_class is results.ResultClass.CONFIG


def test_a_name_that_avro_refuses_is_said():
    """Catches a schema that the registry refuses with words nobody understands."""
    with pytest.raises(port.SinkError, match='no field named "a-b"'):
        avro.schema("row", pa.schema([("a-b", pa.int64())]))
