"""What is wrong inside of columns, and how large their rows are."""

from __future__ import annotations

import pyarrow as pa
import pytest

from penstock.core import schema as schemas
from penstock.core.parsing import slots

_Types = schemas.FieldType
_UUID = "6F1C2D3E-0000-4000-8000-00000000ABCD"
_STRUCT = schemas.Field(
    name="item",
    type=_Types.STRUCT,
    fields=(schemas.Field(name="u", type=_Types.UUID, required=True), schemas.Field(name="j", type=_Types.JSON)),
)
_LIST = schemas.Field(name="l", type=_Types.LIST, element=_STRUCT)
_STRICT_LIST = schemas.Field(name="l", type=_Types.LIST, element=schemas.Field(name="item", type=_Types.JSON, required=True))


def _column(values: list[object], field: schemas.Field) -> pa.Array:
    return pa.array(values, schemas.arrow_type(field))


@pytest.mark.parametrize(
    ("field", "good", "bad"),
    [
        (_STRUCT, [{"u": _UUID, "j": "[1]"}, {"u": _UUID, "j": None}, None], [{"u": "x"}, {"u": _UUID, "j": "{"}, {"u": None}]),
        (_LIST, [[{"u": _UUID}], [], None, [None]], [[{"u": _UUID}, {"u": "x"}], [None, {"u": None}]]),
        (_STRICT_LIST, [["1", "{}"], [], None], [["1", None], ["nope"]]),
    ],
    ids=["struct", "list of structs", "required items"],
)
def test_faults_are_found_at_any_depth(field: schemas.Field, good: list[object], bad: list[object]) -> None:
    """Catches JSON and UUIDs inside lists and structs taken as they come, and a fault told of a neighbour's row."""
    mixed = [*good, *bad, *good]
    flags = [False] * len(good) + [True] * len(bad) + [False] * len(good)
    assert slots.faulty(_column(mixed, field), field).tolist() == flags
    assert slots.faulty(_column(mixed, field).slice(1), field).tolist() == flags[1:]


def test_uuids_are_lower_case_at_any_depth() -> None:
    """Catches two spellings of one UUID that meet in a store."""
    column = _column([None, [{"u": _UUID, "j": "1"}, None], []], _LIST).slice(1)
    assert slots.canonical(column, _LIST).to_pylist() == [[{"u": _UUID.lower(), "j": "1"}, None], []]


def test_row_bytes_count_what_a_row_holds() -> None:
    """Catches one huge row hidden among small ones, in a slice, and behind a NULL."""
    column = _column([[{"u": "x", "j": None}], None, [], [{"u": "yy", "j": "z" * 100}, None]], _LIST)
    assert slots.row_bytes(column).tolist() == [1, 0, 0, 102]
    assert slots.row_bytes(column.slice(2)).tolist() == [0, 102]
    assert slots.row_bytes(pa.array(["ab", None, ""])).tolist() == [2, 0, 0]
