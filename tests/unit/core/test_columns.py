"""Events that come in as Arrow columns."""

from __future__ import annotations

import datetime
import struct

import pyarrow as pa
import pytest
from pyarrow import ipc

from penstock.core import blocks, columns, frames, parse
from penstock.core import schema as schemas

_Types = schemas.FieldType
_SCHEMA = schemas.Schema(
    fields=(
        schemas.Field(name="id", type=_Types.STRING, required=True),
        schemas.Field(name="n", type=_Types.INT32),
        schemas.Field(name="ts", type=_Types.TIMESTAMP),
        schemas.Field(name="j", type=_Types.JSON),
        schemas.Field(name="u", type=_Types.UUID),
    )
)


def _stream(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
    return sink.getvalue().to_pybytes()


def _read(table: pa.Table, schema: schemas.Schema = _SCHEMA) -> parse.Parsed:
    return columns.ColumnReader(schema).read(_stream(table))


def test_columns_are_matched_by_name_and_have_no_event_bytes() -> None:
    """Catches columns matched by place, several chunks read as one, and a made-up `_original`."""
    moment = datetime.datetime(2026, 1, 31, tzinfo=datetime.UTC)
    table = pa.table(
        {"n": pa.array([1, 2, 3], pa.int64()), "ts": pa.array([moment] * 3, pa.timestamp("ms", tz="UTC")), "id": ["a", "b", "c"]}
    )
    parsed = _read(table)
    assert parsed.batch.column("id").to_pylist() == ["a", "b", "c"]
    assert parsed.batch.column("ts").to_pylist() == [moment] * 3
    assert parsed.batch.column("j").null_count == parsed.batch.column(blocks.ORIGINAL).null_count == 3
    assert parsed.rejected == ()


def test_a_row_that_breaks_a_rule_is_refused_alone_and_once() -> None:
    """Catches a request refused for one row, a row named twice, and indices after the refused rows were taken out."""
    uuid = "6F1C2D3E-0000-4000-8000-00000000ABCD"
    table = pa.table({"id": ["a", None, "c", "d"], "j": ["[1]", "{", "nope", None], "u": [uuid, None, None, "x"]})
    parsed = _read(table)
    assert [(why.index, why.field) for why in parsed.rejected] == [(1, "id"), (2, "j"), (3, "u")]
    assert parsed.accepted.tolist() == [0]
    assert parsed.batch.column("u").to_pylist() == [uuid.lower()]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (pa.table({"id": [1]}), "column 'id' holds int64"),
        (pa.table({"id": ["a"], "n": pa.array([1 << 40])}), "column 'n' holds int64"),
        (pa.table({"id": ["a"], "ts": pa.array([0], pa.timestamp("us"))}), "column 'ts' holds"),
        (pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["id", "id"]), "more than once"),
    ],
    ids=["other type", "too large", "no zone", "twice"],
)
def test_a_column_of_another_type_is_named(table: pa.Table, message: str) -> None:
    """Catches a lossy cast, and a local time taken for UTC."""
    with pytest.raises(frames.UnreadableBodyError, match=message):
        _read(table)


def test_an_unknown_column_is_refused_only_where_unknown_fields_are() -> None:
    """Catches unknownFields: Reject that holds for JSON alone."""
    table = pa.table({"id": ["a"], "x": [1]})
    assert _read(table).batch.num_rows == 1
    with pytest.raises(frames.UnreadableBodyError, match="no column 'x'"):
        _read(table, schemas.Schema(fields=_SCHEMA.fields, unknown_fields=schemas.UnknownFields.REJECT))


def test_hostile_buffers_are_refused_before_they_are_read() -> None:
    """Catches a read without full validation: text that is not UTF-8 would fail in the transform, bad offsets in the process."""
    bad_text = pa.Array.from_buffers(pa.string(), 1, [None, pa.py_buffer(b"\0\0\0\0\1\0\0\0"), pa.py_buffer(b"\xff")])
    bad_offset = pa.Array.from_buffers(pa.string(), 2, [None, pa.py_buffer(b"\0\0\0\0\xff\0\0\0\1\0\0\0"), pa.py_buffer(b"a")])
    for array in (bad_text, bad_offset):
        with pytest.raises(frames.UnreadableBodyError):
            _read(pa.Table.from_arrays([array], names=["id"]))
    for junk in (b"", b"junk", _stream(pa.table({"id": ["a"]}))[:-40]):
        with pytest.raises(frames.UnreadableBodyError):
            columns.ColumnReader(_SCHEMA).read(junk)


def _shared_view(count: int, text: bytes) -> pa.Array:
    views = struct.pack("<i4sii", len(text), text[:4], 0, 0) * count
    return pa.Array.from_buffers(pa.string_view(), count, [None, pa.py_buffer(views), pa.py_buffer(text)])


_WORD = "x" * 10_000
_GROWING = {
    "compressed": pa.table({"id": [_WORD] * 100}),
    "rows of nothing": pa.table({"y": pa.nulls(1 << 24)}),
    "dictionary": pa.table({"id": pa.DictionaryArray.from_arrays(pa.array([0] * 100, pa.int8()), pa.array([_WORD]))}),
    "views": pa.table({"id": _shared_view(100, _WORD.encode())}),
    "dictionary inside": pa.table({"s": pa.array([{"a": "x"}], pa.struct([("a", pa.dictionary(pa.int8(), pa.string()))]))}),
    "shared lists": pa.table({"n": pa.array([[1]], pa.list_view(pa.int32()))}),
    "run ends": pa.table({"n": pa.RunEndEncodedArray.from_arrays(pa.array([1_000_000], pa.int32()), pa.array([1]))}),
}


@pytest.mark.parametrize("name", _GROWING)
def test_a_small_stream_that_grows_is_refused(name: str) -> None:
    """Catches a few kilobytes that take gigabytes when they are decoded, each by another encoding."""
    inside = schemas.Field(name="s", type=_Types.STRUCT, fields=(schemas.Field(name="a", type=_Types.STRING),))
    reader = columns.ColumnReader(schemas.Schema(fields=(*_SCHEMA.fields, inside)), max_decoded_bytes=500_000)
    sink = pa.BufferOutputStream()
    with ipc.new_stream(sink, _GROWING[name].schema, options=ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(_GROWING[name])
    stream = sink.getvalue().to_pybytes()
    assert len(stream) < 50_000
    with pytest.raises(frames.UnreadableBodyError, match=r"when decoded|send plain"):
        reader.read(stream)


def test_shared_values_that_stay_small_are_taken() -> None:
    """Catches dictionaries and views refused for what they might be."""
    words = pa.DictionaryArray.from_arrays(pa.array([0, 1, None], pa.int8()), pa.array(["a", "b"]))
    assert _read(pa.table({"id": words})).batch.column("id").to_pylist() == ["a", "b"]
    assert _read(pa.table({"id": _shared_view(2, b"fourteen bytes")})).batch.column("id").to_pylist() == ["fourteen bytes"] * 2


def test_a_row_larger_than_an_event_may_be_is_refused_alone() -> None:
    """Catches the Arrow door taking what the JSON one refuses, and an answer that repeats the row."""
    reader = columns.ColumnReader(_SCHEMA, max_event_bytes=1_000)
    parsed = reader.read(_stream(pa.table({"id": ["a", "b", "c"], "j": ["1", '"' + "x" * 2_000 + '"', "x" * 900]})))
    assert [(why.index, why.code) for why in parsed.rejected] == [(1, parse.Code.TOO_LARGE), (2, parse.Code.SCHEMA_MISMATCH)]
    assert all(len(why.reason) < 200 for why in parsed.rejected)
    assert parsed.accepted.tolist() == [0]
