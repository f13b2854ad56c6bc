"""Rows as the bytes of one file."""

from __future__ import annotations

import enum
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from penstock.sinks import json_rows

_SAMPLE_ROWS = 1_000

# Of the sampled rows: with more distinct values a dictionary costs time and makes the file larger.
_DISTINCT_SHARE = 0.5

_WITHOUT = (pa.types.is_nested, pa.types.is_boolean, pa.types.is_null)


class Format(enum.Enum):
    """The value is the word the API uses."""

    PARQUET = "Parquet"
    NDJSON = "Ndjson"

    @property
    def suffix(self) -> str:
        return f".{self.name.lower()}"


def encode(rows: pa.Table, format_: Format) -> pa.Buffer:
    """The whole file. Raises pa.ArrowException for a type that the format does not have."""
    out = pa.BufferOutputStream()
    if format_ is Format.PARQUET:
        dictionaries = [name for name in rows.column_names if _repeats(rows.column(name))]
        pq.write_table(rows, out, compression="zstd", compression_level=1, use_dictionary=dictionaries)
    else:
        json_rows.write_lines(rows, out)
    return out.getvalue()


def _repeats(column: pa.ChunkedArray[Any]) -> bool:
    """Whether a sample of the values says that a dictionary pays. Nested columns are left alone: names of leaves differ."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return True
    if any(refused(kind) for refused in _WITHOUT) or isinstance(kind, pa.BaseExtensionType):
        return False
    sample = column.slice(0, _SAMPLE_ROWS)
    distinct: int = pc.count_distinct(sample).as_py()
    return bool(distinct <= len(sample) * _DISTINCT_SHARE)
