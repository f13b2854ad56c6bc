"""Rows from arrays, by arithmetic over lengths."""

import pyarrow as pa
import pytest

from penstock.core.transform import explode, spec

KEEP, SKIP = spec.WhenEmpty.KEEP, spec.WhenEmpty.SKIP
ARRAYS = pa.array([[7, 8], None, [], [9]], pa.list_(pa.int64()))


def test_items_come_in_order_with_their_event_and_place():
    """Catches indexes that run on from one event into the next."""
    rows = explode.explode(ARRAYS, SKIP)
    assert rows.made.tolist() == [2, 0, 0, 1]
    assert rows.event.tolist() == [0, 0, 3]
    assert rows.item.tolist() == [0, 1, 0]
    assert rows.items.to_pylist() == [7, 8, 9]
    assert rows.index.to_pylist() == [0, 1, 0]


def test_an_empty_or_missing_array_is_kept_as_one_row_without_an_item():
    """Catches an item taken from the next event, and an index of 0 where there is no item."""
    rows = explode.explode(ARRAYS, KEEP)
    assert rows.made.tolist() == [2, 1, 1, 1]
    assert rows.event.tolist() == [0, 0, 1, 2, 3]
    assert rows.item.tolist() == [0, 1, 0, 0, 0]
    assert rows.items.to_pylist() == [7, 8, None, None, 9]
    assert rows.index.to_pylist() == [0, 1, None, None, 0]


@pytest.mark.parametrize("when_empty", [KEEP, SKIP])
def test_a_slice_and_hidden_values_under_a_null_are_not_read(when_empty):
    """Catches arithmetic over raw offsets, which in a slice, or under a NULL, speak of items that are not there."""
    hidden = pa.ListArray.from_arrays(
        pa.array([0, 2, 3, 3], pa.int32()), pa.array([7, 8, 9]), mask=pa.array([True, False, False])
    )
    assert [item for item in explode.explode(hidden, when_empty).items.to_pylist() if item is not None] == [9]
    assert explode.explode(ARRAYS.slice(3), when_empty).items.to_pylist() == [9]


def test_no_events_make_no_rows():
    """Catches an empty group that fails."""
    assert len(explode.explode(ARRAYS.slice(0, 0), KEEP).event) == 0


@pytest.mark.parametrize(
    "column",
    [
        pa.array([1, None, 3]),
        pa.array([True, None, False]),
        pa.array([1, None, 3], pa.timestamp("us", "UTC")),
        pa.array(["a", None, "c"]),
        pa.array([b"a", None, b"c"]),
        pa.array([[1, 2], None, []]),
    ],
    ids=lambda column: str(column.type),
)
def test_carried_columns_repeat_their_values(column):
    """Catches a column carried under another type than the engine was told, or a NULL lost."""
    carried = explode.carry(column, pa.array([0, 0, 1, 2], pa.int32()))
    assert carried.type == explode.carried_type(column.type)
    assert carried.to_pylist() == column.take(pa.array([0, 0, 1, 2])).to_pylist()


def test_text_is_pointed_at_not_repeated():
    """Catches an event of a megabyte copied for each of its items."""
    carried = explode.carry(pa.array(["x" * 1_000_000]), pa.array([0] * 50_000, pa.int32()))
    assert carried.nbytes < 1_000_000 + 50_000 * 4 + 1_000


def test_a_struct_is_carried_in_a_list_of_one():
    """Catches a dictionary of structs, on which the engine breaks."""
    column = pa.array([{"x": 1}, None])
    carried = explode.carry(column, pa.array([0, 1, 1], pa.int32()))
    assert carried.type == explode.carried_type(column.type)
    assert carried.to_pylist() == [[{"x": 1}], [None], [None]]


@pytest.mark.parametrize("when_empty", [KEEP, SKIP])
def test_chosen_items_keep_their_numbers_and_events_that_choose_none_keep_all(when_empty):
    """Catches items that are numbered anew, and the items of the next event taken for this one's."""
    arrays = pa.array([[7, 8, 9], [1, 2], None, [4, 5]], pa.list_(pa.int64()))
    rows = explode.only(explode.explode(arrays, when_empty), [(2,), (), (), (0, 1)])
    empty = [2] if when_empty is KEEP else []
    assert rows.event.tolist() == [0, 1, 1, *empty, 3, 3]
    assert rows.item.tolist() == [2, 0, 1, *[0 for _ in empty], 0, 1]
    assert rows.items.to_pylist() == [9, 1, 2, *[None for _ in empty], 4, 5]
    assert rows.index.to_pylist() == [2, 0, 1, *[None for _ in empty], 0, 1]
    assert rows.made.tolist() == [1, 2, len(empty), 2]


def test_an_item_that_is_not_there_makes_no_row():
    """Catches an ordinal that reaches into the next event."""
    assert explode.only(explode.explode(ARRAYS, KEEP), [(2,), (1,), (0,), (0,)]).made.tolist() == [0, 0, 1, 1]
    assert explode.only(explode.one_each(2), [(0,), (1,)]).made.tolist() == [1, 0]
