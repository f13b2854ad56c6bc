"""Rows as JSON texts, one per row, column by column: at a third of what rows as Python objects cost.

Times in RFC 3339, decimals as numbers, bytes in Base64, NaN and infinities as null. Each column becomes its JSON by Arrow's
kernels and the columns are joined; a list's items are written as one column too. Only text that needs an escape passes through
Python.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, TypeAlias

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from penstock.sinks import runs

Column: TypeAlias = "pa.Array[Any]"

_NULL = "null"
_TEXT = pa.large_utf8()
_WHOLE = r"^-?[0-9]+$"
_SPACE, _QUOTE, _BACKSLASH = b' "\\'
_ESCAPED = r'["\\\x00-\x1f]'
# From so many rows on texts are kept of so many values; and of so many doubles that have few digits.
_TABLE_ROWS, _TABLE_VALUES, _LEAST_SHORT = 4_096, 1_024, 0.5
# What stands behind the whole part for each number of thousandths; and nothing.
_THOUSANDTHS = pa.array([f".{number:03d}".rstrip("0") if number else ".0" for number in range(1_000)] + [""], _TEXT)
# Arrow writes a year beyond 9999 with more digits, which RFC 3339 does not have; Python neither reads nor writes it.
_DATE_END = 10


def objects(names: Sequence[str], columns: Sequence[Column], rows: int, ending: str = "") -> Column:
    """One object per row, and `ending` behind each. Raises pa.ArrowException for a type that JSON can't hold."""
    return _object(names, columns, rows, ending).cast(pa.large_binary())


def parts(names: Sequence[str], columns: Sequence[Column], rows: int) -> list[Column | str]:
    """The same objects for whoever joins them to more: columns of text and what stands in every row between them, in order."""
    if not names:
        return ["{}"]
    found: list[Column | str] = []
    repeated = runs.find(columns)
    once: list[Column | str] = []
    before = "{"
    for place, (name, column) in enumerate(zip(names, columns, strict=True)):
        text = before + json.dumps(name, ensure_ascii=False) + ":"
        before = ","
        if repeated and place in repeated.columns:
            once += [text, *_pieces(repeated.once(column))]
            continue
        if repeated and once:
            found, once = [*found, repeated.spread(_joined(*once))], []
        found += _tabled(text, column) or [text, *_pieces(column)]
    if repeated and once:
        found.append(repeated.spread(_joined(*once)))
    return [*found, "}"] if rows else [pa.array([], _TEXT)]


def _object(names: Sequence[str], columns: Sequence[Column], rows: int, ending: str = "") -> Column:
    if not names:
        return pa.repeat(pa.scalar("{}" + ending, _TEXT), rows)
    return _joined(*parts(names, columns, rows), ending)


def _tabled(text: str, column: Column) -> list[Column | str] | None:
    """`text` and the values as one column, where there are few values that are possible: each is written once. Else None."""
    kind = column.type
    if column.null_count or len(column) < _TABLE_ROWS:
        return None
    if pa.types.is_integer(kind) and kind != pa.uint64():
        edges = pc.min_max(column)
        least, most = edges["min"].as_py(), edges["max"].as_py()
        if most - least < _TABLE_VALUES:
            table = _joined(text, pa.array(np.arange(most - least + 1) + least).cast(_TEXT))
            return [table.take(pc.subtract(column.cast(pa.int64()), least))]
    return _short_fractions(text, column) if pa.types.is_float64(kind) else None


def _short_fractions(text: str, column: Column) -> list[Column | str] | None:
    """Numbers such as prices, from the texts of their whole part and of their thousandths.

    A double that is the nearest to a decimal of at most 15 digits has no shorter text than that decimal. Where too many have
    more digits than three behind the point, None.
    """
    values = np.asarray(column.to_numpy(zero_copy_only=False), np.float64)
    fits = (values >= 0.0) & (values < _TABLE_VALUES) & ~np.signbit(values)
    thousandths = np.rint(np.where(fits, values, 0.0) * 1_000).astype(np.int64)
    fits &= thousandths / 1_000 == values
    if np.count_nonzero(fits) < len(values) * _LEAST_SHORT:
        return None
    whole, rest = np.divmod(thousandths, 1_000)
    table = _joined(text, pa.array(np.arange(int(whole.max()) + 1)).cast(_TEXT))
    first = table.take(pa.array(whole))
    if not fits.all():
        others = _joined(text, _value(column.filter(pa.array(~fits))))
        first = pc.replace_with_mask(first, pa.array(~fits), others)
    return [first, _THOUSANDTHS.take(pa.array(np.where(fits, rest, 1_000)))]


def _pieces(column: Column) -> list[Column | str]:
    """What `_value` gives, but quotes are left to whoever joins more than this column, where no null does without them."""
    return (None if column.null_count else _quoted(column)) or [_value(column)]


def _value(column: Column) -> Column:
    """The JSON of each value, `null` for none."""
    kind = column.type
    if pa.types.is_struct(kind):
        fields = [column.type.field(index) for index in range(column.type.num_fields)]
        members = [pc.struct_field(column, index) for index in range(len(fields))]
        text = _object([field.name for field in fields], members, len(column))
        return pc.if_else(column.is_valid(), text, pa.scalar(_NULL, _TEXT)) if column.null_count else text
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _list(column)
    return pc.fill_null(_scalar(column), pa.scalar(_NULL, _TEXT))


def _list(column: Column) -> Column:
    items = _value(column.flatten())
    sizes = pc.fill_null(pc.list_value_length(column), 0)
    ends = pc.cumulative_sum(pc.cast(sizes, pa.int64()))
    offsets = pa.concat_arrays([pa.array([0], pa.int64()), ends])
    joined = pc.binary_join(pa.LargeListArray.from_arrays(offsets, items), pa.scalar(",", _TEXT))
    text = _joined("[", joined, "]")
    return pc.if_else(column.is_valid(), text, pa.scalar(_NULL, _TEXT)) if column.null_count else text


def _scalar(column: Column) -> Column:
    kind = column.type
    if pieces := _quoted(column):
        return _joined(*pieces)
    if pa.types.is_floating(kind):
        finite = pc.is_finite(column)
        text = _fractions(column)
        return text if pc.all(finite, min_count=0).as_py() else pc.if_else(finite, text, pa.scalar(_NULL, _TEXT))
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind) or pa.types.is_null(kind):
        return column.cast(_TEXT)
    if pa.types.is_decimal(kind):
        return _decimals(column)
    return _other(column)


def _quoted(column: Column) -> list[Column | str] | None:
    """The pieces of a type that stands in quotes, else None."""
    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return ['"', _escaped(column.cast(_TEXT)), '"']
    if pa.types.is_timestamp(kind):
        return ['"', _moments(column), '"' if kind.tz is None else 'Z"']
    return ['"', column.cast(_TEXT), '"'] if pa.types.is_date(kind) else None


def _moments(column: Column) -> Column:
    """As RFC 3339, but for the Z that stands behind where a time zone is known: `2026-01-31T08:00:00.000000`."""
    text = column.cast(pa.timestamp(column.type.unit)).cast(_TEXT)
    # By bytes, as all of it is ASCII: a quarter of what looking for characters costs.
    return pc.binary_replace_slice(text.view(pa.large_binary()), _DATE_END, _DATE_END + 1, b"T").view(_TEXT)


def _fractions(column: Column) -> Column:
    """Arrow writes 12.0 as 12; whoever guesses types from the text would take a column of such values for whole numbers."""
    text = column.cast(_TEXT)
    whole = pc.fill_null(pc.equal(pc.floor(column), column), pa.scalar(value=False))
    bare = text.filter(whole)
    fixed = pc.if_else(pc.match_substring_regex(bare, _WHOLE), _joined(bare, ".0"), bare)
    return pc.replace_with_mask(text, whole, fixed) if len(bare) else text


def _decimals(column: Column) -> Column:
    """Without an exponent where Arrow writes none; both are numbers to JSON."""
    return column.cast(_TEXT)


def _other(column: Column) -> Column:
    """The rest, value by value: bytes as Base64, times of day, UUIDs."""
    encoded = [None if value is None else msgspec.json.encode(value).decode() for value in column.to_pylist()]
    return pa.array(encoded, _TEXT)


def _escaped(column: Column) -> Column:
    if not _has_hostile_bytes(column):
        return column
    wanting = pc.fill_null(pc.match_substring_regex(column, _ESCAPED), pa.scalar(value=False))
    if not pc.any(wanting).as_py():
        return column
    texts = [msgspec.json.encode(text)[1:-1].decode() for text in column.filter(wanting).to_pylist()]
    return pc.replace_with_mask(column, wanting, pa.array(texts, _TEXT))


def _has_hostile_bytes(column: Column) -> bool:
    """Whether anything in the column may need an escape; a look at all bytes at once, as nearly always nothing does."""
    _, offsets, data = column.buffers()
    if not len(column) or data is None:
        return False
    ends = np.frombuffer(offsets, np.int64)[column.offset : column.offset + len(column) + 1]
    content = np.frombuffer(data, np.uint8)[ends[0] : ends[-1]]
    return bool(((content < _SPACE) | (content == _QUOTE) | (content == _BACKSLASH)).any())


def _joined(*parts: Column | str) -> Column:
    """Row by row one after the other; null where a part is."""
    merged: list[Column | str] = []
    for part in parts:
        if isinstance(part, str) and merged and isinstance(merged[-1], str):
            merged[-1] += part
        else:
            merged.append(part)
    scalars = [pa.scalar(part, _TEXT) if isinstance(part, str) else part for part in merged]
    return pc.binary_join_element_wise(*scalars, pa.scalar("", _TEXT))
