"""`numeric` in its binary form, read back digit by digit."""

import decimal

import hypothesis
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import strategies as st

from penstock.sinks.postgres import numerics


def read(payload):
    """What the server would make of one value's bytes."""
    count, weight, sign, scale = (int(number) for number in payload[:8].view(">i2"))
    digits = payload[8:].view(">i2")
    assert len(digits) == count
    assert all(0 <= digit < 10_000 for digit in digits)
    with decimal.localcontext(prec=60):
        magnitude = sum(decimal.Decimal(int(digit)).scaleb(4 * (weight - at)) for at, digit in enumerate(digits))
        return (-magnitude if sign else magnitude).quantize(decimal.Decimal(1).scaleb(-scale))


@st.composite
def decimals(draw):
    precision = draw(st.integers(1, numerics.MOST_DIGITS))
    scale = draw(st.integers(0, min(precision, numerics.MOST_SCALE)))
    most = 10**precision - 1
    unscaled = draw(st.lists(st.one_of(st.integers(-most, most), st.sampled_from([most, -most, 0])), min_size=1, max_size=5))
    return pa.decimal128(precision, scale), [decimal.Decimal(number).scaleb(-scale) for number in unscaled]


@hypothesis.settings(max_examples=150, deadline=None)
@hypothesis.given(decimals())
def test_a_decimal_keeps_every_digit(told):
    """Catches a weight that is one off, groups of digits that are not aligned to the point, an overflow, a lost sign."""
    type_, values = told
    array = pa.array([decimal.Decimal(0), *values], type_).slice(1)
    assert [read(row) for row in numerics.from_decimals(array)] == values


@pytest.mark.parametrize("dtype", [np.int8, np.int32, np.int64, np.uint64])
def test_whole_numbers_keep_their_ends(dtype):
    """Catches the smallest number, whose magnitude does not fit its own type."""
    limits = np.iinfo(dtype)
    values = np.array(
        [limits.min, 0, 1, 9_999, 10_000, limits.max] if limits.max > 20_000 else [limits.min, 0, limits.max], dtype
    )
    assert [int(read(row)) for row in numerics.from_integers(values)] == values.tolist()
