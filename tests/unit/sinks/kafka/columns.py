"""Columns of all types that a transform can make, with values that hurt."""

import datetime
import decimal

import pyarrow as pa
from hypothesis import strategies as st

_MOMENTS = st.datetimes(datetime.datetime(1, 1, 2), datetime.datetime(9999, 12, 30))
_TEXT = st.text(st.sampled_from('\\"/\x00\n\x1f\x7f,:[]{}é\u2028😀 a') | st.characters(exclude_categories=["Cs"]), max_size=12)
_WHOLE = st.integers(-(1 << 63), (1 << 63) - 1)
_DECIMALS = st.integers(-(10**18) + 1, 10**18 - 1).map(lambda number: decimal.Decimal(number).scaleb(-4))

TYPES = {
    "text": (pa.string(), _TEXT),
    "whole": (pa.int64(), _WHOLE),
    "small": (pa.int32(), st.integers(-(1 << 31), (1 << 31) - 1)),
    "float": (pa.float64(), st.floats()),
    "truth": (pa.bool_(), st.booleans()),
    "bytes": (pa.binary(), st.binary(max_size=12)),
    "decimal": (pa.decimal128(18, 4), _DECIMALS),
    "day": (pa.date32(), st.dates(datetime.date(1, 1, 2))),
    "moment": (pa.timestamp("us", "UTC"), _MOMENTS.map(lambda one: one.replace(tzinfo=datetime.UTC))),
    "local": (pa.timestamp("us"), _MOMENTS),
    "list": (pa.list_(pa.string()), st.lists(st.none() | _TEXT, max_size=4)),
    "struct": (
        pa.struct([("a", pa.int64()), ("b", pa.list_(pa.struct([("c", pa.string())])))]),
        st.fixed_dictionaries(
            {
                "a": st.none() | _WHOLE,
                "b": st.none() | st.lists(st.none() | st.fixed_dictionaries({"c": st.none() | _TEXT}), max_size=3),
            }
        ),
    ),
}


@st.composite
def tables(draw):
    """One column of each type, and where in it to begin."""
    count = draw(st.integers(1, 8))
    made = {
        name: pa.array(draw(st.lists(st.none() | values, min_size=count, max_size=count)), kind)
        for name, (kind, values) in TYPES.items()
    }
    return pa.table(made).slice(draw(st.integers(0, count - 1)))
