"""Rows divided over Hive folders, `name=value/…`.

The value of partition `dt` comes in the column `dt` of the write's rows, which is not written into the files: readers take
it from the folder's name, and a second one in the file could contradict it.
"""

from __future__ import annotations

import dataclasses
import urllib.parse
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from penstock.sinks import tables

NULL_VALUE = "__HIVE_DEFAULT_PARTITION__"

# Each is a file to be written and synced: more of them in one write are a key, not a partition.
_FOLDERS_PER_WRITE = 256

# What Linux file systems allow for one name.
_SEGMENT_BYTES = 255


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Rows for one folder. `indices` are their places in the write, ascending; `segments` its path below the root."""

    segments: tuple[str, ...]
    indices: npt.NDArray[np.int64]
    rows: pa.Table

    @property
    def nameable(self) -> bool:
        """Whether a file system takes the names; a longer value is a fault of its rows."""
        return all(len(segment) <= _SEGMENT_BYTES for segment in self.segments)


def check_columns(schema: pa.Schema, names: Sequence[str]) -> None:
    """Raises SinkError (config) where a partition has no column, or where there is nothing else."""
    for name in names:
        if name not in schema.names:
            raise tables.misconfigured(
                "NO_PARTITION_COLUMN",
                f'no value for partition "{name}": there is no column of this name',
                f'give files.partition "{name}" a value, or select a column of this name',
            )
    if not data_columns(schema, names):
        raise tables.misconfigured("NO_COLUMNS", "nothing is left to be written beside the partitions", "select a column")


def data_columns(schema: pa.Schema, names: Sequence[str]) -> list[str]:
    """What stands in the files."""
    return [column for column in schema.names if column not in names]


def divide(rows: pa.Table, names: Sequence[str]) -> list[Part]:
    """The rows by folder, in order within each. Raises SinkError when there are too many folders or no values."""
    check_columns(rows.schema, names)
    everything, data = np.arange(rows.num_rows, dtype=np.int64), rows.select(data_columns(rows.schema, names))
    if not names or not rows.num_rows:
        return [Part(segments=(), indices=everything, rows=data)] if rows.num_rows else []
    values = [_text(rows.column(name)) for name in names]
    groups = _groups(values)
    if len(groups) > _FOLDERS_PER_WRITE:
        raise tables.misconfigured(
            "TOO_MANY_PARTITIONS",
            f"{len(groups)} folders in one write of {rows.num_rows} rows; {_FOLDERS_PER_WRITE} at most",
            "partition by something coarser, a day or a region, not by a key",
        )
    return [
        Part(
            segments=tuple(map(_segment, names, (value[int(group[0])].as_py() for value in values))),
            indices=group,
            rows=data if len(groups) == 1 else data.take(group),
        )
        for group in groups
    ]


def _text(column: pa.ChunkedArray[Any]) -> pa.Array[Any]:
    try:
        return pc.cast(column, pa.string()).combine_chunks()
    except pa.ArrowException as error:
        raise tables.misconfigured(
            "PARTITION_TYPE", f"a partition's value can't be {column.type}", "make it text in files.partition"
        ) from error


def _groups(values: Sequence[pa.Array[Any]]) -> list[npt.NDArray[np.int64]]:
    """Indices of rows with equal values, ascending within a group."""
    combined = np.zeros(len(values[0]), dtype=np.int64)
    for value in values:
        encoded = value.dictionary_encode(null_encoding="encode")
        codes = encoded.indices.to_numpy(zero_copy_only=False)
        # Numbered anew at each level, or the product of many levels would not fit.
        combined = np.unique(combined * len(encoded.dictionary) + codes, return_inverse=True)[1].astype(np.int64)
    order = np.argsort(combined, kind="stable")
    bounds = np.flatnonzero(np.diff(combined[order])) + 1
    return np.split(order, bounds)


def _segment(name: str, value: str | None) -> str:
    """Escaped as a URL, which is what readers undo; a slash or a dot in a value is no way out of the folder."""
    text = NULL_VALUE if value is None else urllib.parse.quote(value, safe="")
    return f"{urllib.parse.quote(name, safe='')}={text}"
