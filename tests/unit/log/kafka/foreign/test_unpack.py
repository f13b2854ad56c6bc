"""Records taken apart in bulk are those that the client's own reader finds one by one."""

from __future__ import annotations

import struct

import hypothesis
import pytest
from aiokafka import errors
from aiokafka.record import legacy_records, memory_records
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from hypothesis import strategies as st

from penstock.core.records import layout
from penstock.log.kafka import checksum
from penstock.log.kafka.foreign import pages

CODECS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
APPEND_TIME = 0x08
MAYBE = st.none() | st.binary(max_size=200) | st.sampled_from([b"", b"\0" * 70, b"x" * 9_000])
HEADERS = st.just([]) | st.lists(st.tuples(st.text(max_size=3), st.none() | st.binary(max_size=70)), max_size=3)
RECORDS = st.lists(st.tuples(MAYBE, MAYBE, HEADERS, st.integers(0, 1 << 40)), max_size=40)


def batch(first, records, codec=0, appended=None):
    """Of version 2, as a broker keeps it."""
    builder = DefaultRecordBatchBuilder(2, codec, 0, -1, -1, -1, 1 << 24)
    for at, (key, value, headers, stamp) in enumerate(records):
        builder.append(at, stamp, key, value, headers)
    made = bytearray(builder.build())
    made[0:8] = first.to_bytes(8, "big")
    if appended is not None:
        made[22] |= APPEND_TIME
        made[35:43] = appended.to_bytes(8, "big")
    return sealed(made)


def sealed(made):
    """With the checksum of what it holds now."""
    made[17:21] = struct.pack(">I", checksum.crc32c(bytes(made[21:])))
    return bytes(made)


def one_by_one(content, start):
    """By the client's reader."""
    found = []
    batches = memory_records.MemoryRecords(content)
    while batches.has_next():
        found += [record for record in batches.next_batch() if record.offset >= start]
    return layout.run(
        [one.offset for one in found],
        [-1 if one.timestamp is None else one.timestamp for one in found],
        [one.key for one in found],
        [one.value for one in found],
        [one.headers for one in found],
    )


@hypothesis.settings(max_examples=50, deadline=None)
@hypothesis.given(
    st.lists(st.tuples(RECORDS, st.sampled_from(list(CODECS.values())), st.none() | st.integers(0, 1 << 40)), max_size=4),
    st.integers(0, 200),
)
def test_records_are_those_of_the_clients_own_reader(told, start):
    """Catches a field that is read from the wrong place, a NULL that becomes empty, a time of the record where the broker's
    counts, a header that is lost, a record from before."""
    content, first = b"", 0
    for records, codec, appended in told:
        content += batch(first, records, codec if records else 0, appended)
        first += len(records) + 3
    assert pages.read("t/0", content, start, None).rows.equals(one_by_one(content, start))


@hypothesis.settings(max_examples=100, deadline=None)
@hypothesis.given(RECORDS.filter(bool), st.data())
def test_damage_that_the_checksum_does_not_show_is_told_or_harmless(records, data):
    """A producer may write what it likes and sign it. Catches a read beyond the data, and an error that no lane understands."""
    made = bytearray(batch(0, records))
    for at in data.draw(st.lists(st.integers(57, len(made) - 1), min_size=1, max_size=3)):
        made[at] = data.draw(st.integers(0, 255))
    try:
        # From before any offset that may come out: a changed one could lie below 0.
        page = pages.read("t/0", sealed(made), -(2**63), None)
    except errors.CorruptRecordException:
        return
    page.rows.validate(full=True)
    assert page.rows.num_rows == struct.unpack_from(">i", made, 57)[0]


@pytest.mark.parametrize("version", [0, 1])
def test_batches_of_the_versions_before_are_read_among_the_others(version):
    """Brokers keep what was written long ago. Catches a lane that stops on them, and an order that changes."""
    old = legacy_records.LegacyRecordBatchBuilder(version, 0, 1 << 20)
    for at in range(3):
        old.append(at, 1_700_000_000_000, b"k", b"old%d" % at)
    ancient = bytes(old.build())
    content = batch(0, [], 0) + ancient + batch(3, [(b"k", b"new", [], 5)])
    page = pages.read("t/0", content, 1, None)
    assert page.rows.column(layout.VALUE).to_pylist() == [b"old1", b"old2", b"new"]
    assert page.rows.column(layout.TIMESTAMP).to_pylist() == [-1 if version == 0 else 1_700_000_000_000] * 2 + [5]
    assert page.end == 4
    damaged = bytearray(ancient)
    damaged[-1] ^= 1
    with pytest.raises(errors.CorruptRecordException):
        pages.read("t/0", bytes(damaged), 0, None)


def test_a_length_that_can_not_be_is_told():
    """Catches a batch without a header, and a loop that never ends on a length below zero."""
    for size in (0, 5, 20, 48, -12, -100):
        content = bytearray(batch(0, [(b"k", b"v", [], 0)]))
        content[8:12] = struct.pack(">i", size)
        with pytest.raises(errors.CorruptRecordException, match="length"):
            pages.read("t/0", bytes(content), 0, None)


def test_the_checksum_is_the_clients():
    """Whichever way it is worked out. Catches pieces that are summed each by itself."""
    from aiokafka.record import util

    for size in (0, 1, 7, 1_000):
        content = bytes(range(256)) * 4
        assert checksum.crc32c(content[:size], content[size:]) == util.calc_crc32c(content)
