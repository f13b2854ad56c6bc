"""State beside a dead letter: exact, typed, bounded."""

from __future__ import annotations

import datetime
import decimal

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.core.state import letters, spec


def told(**columns: pa.DataType) -> spec.StateSpec:
    values = tuple(spec.Value(kind=spec.Kind.LAST, column=pa.field(name, kind), field="f") for name, kind in columns.items())
    return spec.StateSpec(key=("k",), max_keys=1, values=values)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (pa.int64(), 2**63 - 1),
        (pa.string(), "é" * 512),
        (pa.binary(), b"\x00\xff"),
        (pa.decimal128(38, 4), decimal.Decimal("-12345678901234567890.1234")),
        (pa.timestamp("us", tz="UTC"), datetime.datetime(2026, 1, 1, 0, 0, 0, 1, tzinfo=datetime.UTC)),
        (pa.float64(), 0.1),
        (pa.bool_(), None),
    ],
    ids=str,
)
def test_a_value_comes_back_exactly_with_its_type(kind: pa.DataType, value: object) -> None:
    """Catches values that go through text, and the row of a neighbour."""
    seen = pa.table({"v": pa.chunked_array([pa.array([None], kind), pa.array([value, None], kind)])})
    [column] = letters.decode(told(v=kind), [letters.encode(seen, 1), letters.encode(seen, 2), b""])
    assert (column.type, column.to_pylist()) == (kind, [value, None, None])


def test_what_a_letter_does_not_know_is_null() -> None:
    """Catches a value given to another one of a name that meant something else, and an older letter that stops the lane."""
    seen = pa.table({"a": pa.array([7], pa.int64()), "b": pa.array(["x"])})
    found = letters.decode(told(b=pa.int64(), a=pa.int64(), c=pa.string()), [letters.encode(seen, 0), b""])
    assert [column.to_pylist() for column in found] == [[None, None], [7, None], [None, None]]


def test_sixteen_of_the_longest_fit_and_nothing_larger_is_written() -> None:
    """Catches a header that the log refuses, and values left out without need."""
    longest = pa.table({f"v{at}": ["x" * spec.MOST_VALUE_BYTES] for at in range(16)})
    assert 16 * spec.MOST_VALUE_BYTES < len(letters.encode(longest, 0)) <= letters.MOST_BYTES
    assert letters.encode(pa.table({"v": ["x" * letters.MOST_BYTES]}), 0) == b""


_GOOD = letters.encode(pa.table({"v": ["x"]}), 0)


@settings(max_examples=200)
@given(st.binary(max_size=50) | st.tuples(st.integers(0, len(_GOOD) - 1), st.integers(1, 255)))
def test_bytes_that_are_no_state_are_nothing(hostile: bytes | tuple[int, int]) -> None:
    """Catches a lane halted by a header that somebody has written."""
    if isinstance(hostile, tuple):
        at, flip = hostile
        hostile = _GOOD[:at] + bytes([_GOOD[at] ^ flip]) + _GOOD[at + 1 :]
    assert len(letters.decode(told(v=pa.string()), [hostile])[0]) == 1
