"""COPY streams: framing, parts of them, and values that Postgres does not have."""

import struct

import numpy as np
import pyarrow as pa
import pytest

from penstock.sinks.postgres import binary, column_types, encode

TEXT = column_types.Way(form=column_types.Form.TEXT, staging="text", target="text")
BIGINT = column_types.Way(form=column_types.Form.NUMBER, staging="bigint", target="int8")
MOMENT = column_types.Way(form=column_types.Form.TIMESTAMP, staging="timestamptz", target="timestamptz")
UUID = column_types.Way(form=column_types.Form.UUID, staging="uuid", target="uuid")
JSONB = column_types.Way(form=column_types.Form.JSONB, staging="jsonb", target="jsonb")
TEXTS = column_types.Way(form=column_types.Form.ARRAY, staging="text[]", target="text", element=TEXT)


def read(stream):
    """The fields of each row; the last is its index."""
    assert stream[:19] == b"PGCOPY\n\xff\r\n\0" + bytes(8)
    found, at = [], 19
    while (count := struct.unpack_from(">h", stream, at)[0]) != -1:
        at, row = at + 2, []
        for _ in range(count):
            (length,) = struct.unpack_from(">i", stream, at)
            at += 4
            row.append(None if length < 0 else stream[at : at + length])
            at += max(0, length)
        found.append(row)
    assert at == len(stream) - 2
    return found


def index(number):
    return struct.pack(">i", number)


def test_text_null_and_numbers_stand_between_each_other():
    """Catches a length that belongs to the field before, and a NULL with bytes."""
    table = pa.table({"a": pa.array(["é", None, ""]), "n": pa.array([1, None, -1], pa.int64()), "b": pa.array([None, "x", "y"])})
    rows = encode.rows(table, [TEXT, BIGINT, TEXT])
    assert read(rows.stream()) == [
        ["é".encode(), struct.pack(">q", 1), None, index(0)],
        [None, None, b"x", index(1)],
        [b"", struct.pack(">q", -1), b"y", index(2)],
    ]


def test_parts_of_a_stream_are_streams():
    """Catches an offset by one row, and a part without its header."""
    rows = encode.rows(pa.table({"a": [str(number) for number in range(5)]}), [TEXT])
    assert [row[0] for row in read(rows.stream(2))] == [b"2", b"3", b"4"]
    assert [row[0] for row in read(rows.stream(1, 3))] == [b"1", b"2"]
    assert [row[1] for row in read(rows.chosen([4, 0]))] == [index(4), index(0)]
    assert read(rows.stream(5)) == []


def test_no_rows_are_an_empty_stream():
    """Catches a division by no rows."""
    table = pa.table({"a": pa.array([], pa.string()), "n": pa.array([], pa.int64()), "l": pa.array([], pa.list_(pa.string()))})
    assert read(encode.rows(table, [TEXT, BIGINT, TEXTS]).stream()) == []


def test_chunks_slices_and_dictionaries_are_the_same_values():
    """Catches buffers that are read from their beginning."""
    plain = pa.table({"a": ["x", None, "z"], "j": ["1", None, "2"], "l": [["a"], None, []]})
    chunked = pa.concat_tables([pa.table({"a": ["q"], "j": ["q"], "l": [["q", "r"]]}), plain.slice(0, 1), plain.slice(1)]).slice(
        1
    )
    coded = plain.set_column(0, "a", plain.column("a").dictionary_encode())
    ways = [TEXT, JSONB, TEXTS]
    wanted = encode.rows(plain, ways).stream()
    assert encode.rows(chunked, ways).stream() == wanted
    assert encode.rows(coded, ways).stream() == wanted


def test_elements_below_a_null_are_not_sent():
    """Catches a list that is NULL and yet has elements in its buffers, which shifts all lists after it."""
    lists = pa.ListArray.from_arrays(pa.array([0, 2, 3], pa.int32()), pa.array(["a", "b", "c"]), mask=pa.array([True, False]))
    first, second = read(encode.rows(pa.table({"l": lists}), [TEXTS]).stream())
    assert first[0] is None
    assert second[0] == struct.pack(">iiIii", 1, 0, 25, 1, 1) + struct.pack(">i", 1) + b"c"


@pytest.mark.parametrize(
    ("way", "values", "rows"),
    [
        (MOMENT, pa.array([0, 2**63 - 1, -(2**63) + 1], pa.timestamp("us", "UTC")), [1, 2]),
        (UUID, pa.array(["11111111-2222-3333-4444-555566667777", "11111111-2222-3333-4444-55556666777g", None]), [1]),
        (UUID, pa.array(["1", None, "11111111-2222-3333-4444-555566667777"]), [0]),
        (UUID, pa.array(["11111111 2222-3333-4444-555566667777", None, None]), [0]),
    ],
)
def test_values_without_a_counterpart_name_their_rows(way, values, rows):
    """Catches a moment that wraps around, and NULLs taken for what stands in their place."""
    with pytest.raises(encode.UnfitValuesError) as caught:
        encode.rows(pa.table({"v": values}), [way])
    assert caught.value.found.column == "v"
    assert caught.value.found.rows.tolist() == rows


def test_a_field_no_message_can_hold_names_its_row(monkeypatch):
    """Catches a gigabyte that ends the connection, and with it the lane."""
    monkeypatch.setattr(encode, "MOST_FIELD_BYTES", 10)
    with pytest.raises(encode.UnfitValuesError, match='column "v": is longer than 10 bytes'):
        encode.rows(pa.table({"v": ["short", "x" * 11, None]}), [TEXT])


def test_big_endian_keeps_columns_apart():
    """Catches two-dimensional payloads that are flattened, and empty ones without a width."""
    assert binary.big_endian(np.array([[1, 2], [3, 4]], np.int16)).tolist() == [[0, 1, 0, 2], [0, 3, 0, 4]]
    assert binary.big_endian(np.zeros((0, 3), np.int32)).shape == (0, 12)
