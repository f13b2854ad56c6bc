"""The Java client's partition for every key."""

import hypothesis
import pyarrow as pa
import pytest
from aiokafka import partitioner as theirs
from hypothesis import strategies as st

from penstock.sinks.kafka import partitioner


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_the_hash_is_that_of_the_java_client(key, expected):
    """The values of Kafka's own test, UtilsTest.testMurmur2. Catches any slip in the arithmetic."""
    [found] = partitioner.murmur2(pa.array([key], pa.large_binary())).tolist()
    assert found == expected % (1 << 32)


@hypothesis.settings(deadline=None)
@hypothesis.given(st.lists(st.binary(max_size=40), min_size=1), st.integers(0, 5))
def test_all_keys_at_once_are_as_each_alone(keys, start):
    """Catches a word read from the neighbour's bytes, also in a slice of a column."""
    column = pa.array(keys, pa.large_binary()).slice(start)
    assert partitioner.murmur2(column).tolist() == [theirs.murmur2(key) & 0xFFFFFFFF for key in keys[start:]]


def test_rows_without_a_key_go_together_and_the_next_write_elsewhere():
    """Catches a null that is hashed, and keyless rows that all go to one partition for ever."""
    keys = pa.array([b"a", None, b"a", None], pa.large_binary())
    for keyless in range(7):
        found = partitioner.choose(keys, 3, keyless).tolist()
        assert found[0] == found[2]
        assert found[1] == found[3] == keyless % 3
    assert partitioner.choose(pa.array([None], pa.large_binary()), 3, 4).tolist() == [1]
