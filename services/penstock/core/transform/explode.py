"""From events to rows: one per item of an array, with the event's other columns carried along, all in bulk.

The arrays are flattened and each row gets the index of its event, by arithmetic over the list lengths; no item is touched.
The engine then sees flat rows, so a single item can be run alone when its neighbours must not suffer. Columns of a fixed
width are copied to the rows; text, lists and structs are carried as dictionaries, so that an event of a megabyte with fifty
thousand items stays one megabyte. Flattening in the engine (UNNEST) costs the same and gives neither.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, TypeAlias, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from penstock.core.transform import spec

Index = npt.NDArray[np.int32]
Array: TypeAlias = "pa.Array[Any]"
Chunks: TypeAlias = "pa.ChunkedArray[Any]"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """The rows of a group before the query. `event` and `item` have one entry per row, `made` one per event.

    `items` is the flattened array and `index` each item's place in it, both NULL for the row of a kept empty; None without
    explode, where rows are the events.
    """

    made: spec.Counts
    event: Index
    item: Index
    items: Array | None = None
    index: Array | None = None


def one_each(events: int) -> Rows:
    """Without explode: every event makes its one row."""
    return Rows(
        made=np.ones(events, dtype=np.int64),
        event=np.arange(events, dtype=np.int32),
        item=np.zeros(events, dtype=np.int32),
    )


def explode(arrays: Any, when_empty: spec.WhenEmpty) -> Rows:
    """One row per item of each event's array; empty and missing arrays by `when_empty`."""
    counted: Any = pc.fill_null(pc.list_value_length(arrays), 0)
    lengths = np.asarray(counted.to_numpy(zero_copy_only=False), dtype=np.int64)
    made = np.maximum(lengths, 1) if when_empty is spec.WhenEmpty.KEEP else lengths
    event = np.repeat(np.arange(len(made), dtype=np.int32), made)
    before = np.cumsum(made) - made
    item = (np.arange(len(event)) - np.repeat(before, made)).astype(np.int32)
    items, index = arrays.flatten(), pa.array(item)
    if len(items) < len(item):
        kept_empty = np.repeat(lengths == 0, made)
        items = items.take(pa.array(np.cumsum(~kept_empty) - 1, mask=kept_empty))
        index = pa.array(item, mask=kept_empty)
    return Rows(made=made, event=event, item=item, items=items, index=index)


def only(rows: Rows, wanted: Sequence[Sequence[int]]) -> Rows:
    """Of each event the rows of the items it names, under their old numbers; all of its rows where it names none."""
    keep = np.ones(len(rows.event), dtype=bool)
    for event, items in enumerate(wanted):
        if items:
            start, stop = np.searchsorted(rows.event, [event, event + 1])
            keep[start:stop] = np.isin(rows.item[start:stop], np.asarray(items))
    mask: Any = pa.array(keep)
    return Rows(
        made=np.bincount(rows.event[keep], minlength=len(rows.made)).astype(np.int64),
        event=rows.event[keep],
        item=rows.item[keep],
        items=None if rows.items is None else rows.items.filter(mask),
        index=None if rows.index is None else rows.index.filter(mask),
    )


def carried_type(kind: pa.DataType) -> pa.DataType:
    """The type under which `carry` hands a column of events to the engine."""
    if is_copied(kind):
        return kind
    values: Any = pa.list_(kind) if is_boxed(kind) else kind
    carried: pa.DataType = pa.dictionary(pa.int32(), values)
    return carried


def is_copied(kind: pa.DataType) -> bool:
    """Whether a value is repeated rather than pointed at."""
    return bool(pa.types.is_primitive(kind) or pa.types.is_decimal(kind) or pa.types.is_fixed_size_binary(kind))


def is_boxed(kind: pa.DataType) -> bool:
    """Whether a value is carried as a list of one: the engine fails on dictionaries of structs, not on lists of them."""
    return bool(pa.types.is_struct(kind))


def carry(column: Array, rows: Any) -> Array:
    """An event's column repeated for its rows; `rows` is the int32 index of each row's event."""
    if is_copied(column.type):
        return column.take(rows)
    if is_boxed(column.type):
        starts: Any = pa.array(np.arange(len(column) + 1, dtype=np.int32))
        column = pa.ListArray.from_arrays(starts, column)
    return pa.DictionaryArray.from_arrays(rows, column)


def in_one_piece(column: Chunks) -> Array:
    """A column as a single array, without a copy where it is one already."""
    return cast("Array", column.chunk(0)) if column.num_chunks == 1 else column.combine_chunks()
