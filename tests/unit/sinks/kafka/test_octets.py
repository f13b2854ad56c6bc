"""Variable-length integers for all rows at once."""

import hypothesis
import numpy as np
from aiokafka.record import util
from hypothesis import strategies as st

from penstock.sinks.kafka import octets

# The client's own writer, beside which these are held, goes this far.
NUMBERS = st.integers(-(1 << 62), (1 << 62) - 1) | st.integers(-70, 70) | st.integers(-(1 << 14), 1 << 14)


def theirs(value):
    made = bytearray()
    util.encode_varint_py(value, made.append)
    return bytes(made)


@hypothesis.settings(deadline=None)
@hypothesis.given(st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS), max_size=40))
def test_numbers_of_a_row_stand_one_after_the_other_as_the_client_writes_each(rows):
    """Catches a bit that says wrongly whether more follow, a size that counts wrong, and numbers of another row."""
    columns = [np.array([row[place] for row in rows], dtype=np.int64) for place in range(3)]
    assert octets.zigzag(*columns).to_pylist() == [b"".join(map(theirs, row)) for row in rows]
    assert octets.zigzag(columns[0]).to_pylist() == [theirs(row[0]) for row in rows]
    assert octets.sizes_of(columns[1]).tolist() == [len(theirs(row[1])) for row in rows]
