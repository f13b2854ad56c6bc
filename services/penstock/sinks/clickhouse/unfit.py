"""Rows that the table surely can't hold, found by columns before anything is sent.

Two reasons: what they hold is commonest among refusals and costs no search (NULL), or the server would not refuse it but
land another value: a time outside of what the column's type can tell, or NULL for text that is no UUID.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Iterator, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from penstock.core import results
from penstock.sinks.clickhouse import column_types

_UTC = datetime.UTC
_UUID = "^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$"
_LONGEST_SHOWN = 60


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Span:
    first: datetime.datetime
    end: datetime.datetime


_SPANS: Mapping[str, _Span] = {
    "DateTime": _Span(
        first=datetime.datetime(1970, 1, 1, tzinfo=_UTC), end=datetime.datetime(2106, 2, 7, 6, 28, 16, tzinfo=_UTC)
    ),
    "DateTime64": _Span(first=datetime.datetime(1900, 1, 1, tzinfo=_UTC), end=datetime.datetime(2300, 1, 1, tzinfo=_UTC)),
    "Date": _Span(first=datetime.datetime(1970, 1, 1, tzinfo=_UTC), end=datetime.datetime(2149, 6, 7, tzinfo=_UTC)),
    "Date32": _Span(first=datetime.datetime(1900, 1, 1, tzinfo=_UTC), end=datetime.datetime(2300, 1, 1, tzinfo=_UTC)),
}
_NANOSECONDS = _Span(first=datetime.datetime(1900, 1, 1, tzinfo=_UTC), end=datetime.datetime(2262, 4, 11, tzinfo=_UTC))
"""Of a DateTime64 of nine digits: 64 bits reach no further."""


def rows(table: pa.Table, columns: Mapping[str, column_types.Type]) -> list[results.RejectedRow]:
    """Each such row once, with its first fault; in ascending order."""
    found: dict[int, tuple[str, str]] = {}
    for name in table.column_names:
        values, column = table.column(name), columns[name]
        if values.null_count and not column_types.takes_null(column):
            for row in _places(pc.is_null(values)):
                found.setdefault(row, ("NULL", f'column "{name}" is {column.name} and takes no NULL'))
        for row in _not_of_text(values, column):
            found.setdefault(
                row, ("CANNOT_PARSE_TEXT", f'column "{name}" is {column.plain.name}, the text is none: {_shown(values[row])}')
            )
        for row in _out_of_span(values, column.plain):
            found.setdefault(row, ("OUT_OF_RANGE", f'column "{name}" is {column.plain.name}, which can\'t hold {values[row]}'))
    return [
        results.RejectedRow(row=row, result_class=results.ResultClass.DATA, code=found[row][0], message=found[row][1])
        for row in sorted(found)
    ]


def _not_of_text(values: pa.ChunkedArray, column: column_types.Type) -> Iterator[int]:
    """Where a column that takes NULL would take one instead of the error."""
    if not column.nullable or not pa.types.is_string(values.type) or column.plain.name not in column_types.CHECKED:
        return iter(())
    if column.plain.name == "UUID":
        wrong = pc.invert(pc.match_substring_regex(values, _UUID))
    else:
        wrong = pc.greater(pc.binary_length(values), int(column.plain.inner[0].name))
    return _places(pc.fill_null(wrong, False))


def _shown(value: pa.Scalar) -> str:
    text = str(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"


def _out_of_span(values: pa.ChunkedArray, column: column_types.Type) -> Iterator[int]:
    span = _span(column)
    if span is None or not (pa.types.is_timestamp(values.type) or pa.types.is_date(values.type)):
        return iter(())
    outside = pa.chunked_array([pa.array(np.zeros(len(values), dtype=bool))])
    if (first := _as(values.type, span.first)) is not None:
        outside = pc.or_(outside, pc.fill_null(pc.less(values, first), False))
    if (end := _as(values.type, span.end)) is not None:
        outside = pc.or_(outside, pc.fill_null(pc.greater_equal(values, end), False))
    return _places(outside)


def _span(column: column_types.Type) -> _Span | None:
    if column.name == "DateTime64" and column.inner and column.inner[0].name == "9":
        return _NANOSECONDS
    return _SPANS.get(column.name.replace("DateTime32", "DateTime"))


def _as(type_: pa.DataType, moment: datetime.datetime) -> pa.Scalar | None:
    """`moment` in the column's own type; None where that can't tell it, so that no value can be beyond it either."""
    plain = moment.date() if pa.types.is_date(type_) else moment if type_.tz else moment.replace(tzinfo=None)
    try:
        return pa.scalar(plain, type_)
    except (pa.ArrowInvalid, OverflowError):
        return None


def _places(mask: pa.ChunkedArray) -> Iterator[int]:
    return iter(np.flatnonzero(mask.to_numpy()).tolist())
