"""Records in Kafka's own form, read back by aiokafka's decoder."""

import json

import hypothesis
import numpy as np
import pyarrow as pa
import pytest
from aiokafka.record import default_records, memory_records
from hypothesis import strategies as st

from penstock.sinks.kafka import batches, compress

MAYBE = st.none() | st.binary(max_size=300)
ROWS = st.lists(st.tuples(MAYBE, MAYBE, MAYBE, st.integers(0, 3)), min_size=1, max_size=60)


def column(values):
    return pa.array(values, pa.large_binary())


def packed(rows, batch_bytes=1 << 20, codec=compress.Codec.NONE):
    keys, values, headers, partitions = zip(*rows, strict=True)
    records = batches.Records(
        keys=column(keys), values=[column(values)], headers=[batches.Header(name="hé", values=[column(headers)])]
    )
    return batches.pack(
        records, np.array(partitions), batch_bytes=batch_bytes, codec=codec, timestamp_milliseconds=1_700_000_000_000
    )


def decoded(batch):
    found = memory_records.MemoryRecords(bytes(batch._build())).next_batch()
    assert found.validate_crc()
    return list(found)


@hypothesis.settings(max_examples=60, deadline=None)
@hypothesis.given(ROWS, st.integers(50, 4_000))
def test_every_record_comes_back_once_in_order_in_its_partition(rows, batch_bytes):
    """Catches a length that counts wrong, a record in two batches, and an order that isn't that of the rows."""
    made = packed(rows, batch_bytes)
    for batch in made:
        found = decoded(batch)
        assert [one.offset for one in found] == list(range(len(batch.rows))) == list(range(batch.record_count()))
        assert [(one.key, one.value, dict(one.headers)["hé"], batch.partition) for one in found] == [
            rows[row] for row in batch.rows
        ]
    for partition in range(4):
        mine = [row for batch in made if batch.partition == partition for row in batch.rows]
        assert mine == [row for row, told in enumerate(rows) if told[3] == partition]


def test_no_batch_is_larger_than_it_may_be_but_for_one_record_alone():
    """Catches a bound that is only looked at afterwards: the broker would refuse the whole batch."""
    rows = [(None, bytes(100 if number % 10 else 5_000), None, 0) for number in range(200)]
    made = packed(rows, 1_000)
    assert all(len(batch) <= 1_100 or batch.record_count() == 1 for batch in made)
    assert sum(batch.record_count() == 1 for batch in made) == 20
    assert len(made) <= 60


def test_the_producers_numbers_are_part_of_the_checksum():
    """Catches an id filled in after the checksum: brokers refuse such a batch."""
    [batch] = packed([(b"k", b"v", None, 0)])
    batch._set_producer_state(4711, 3, 99)
    found = memory_records.MemoryRecords(bytes(batch._build())).next_batch()
    assert found.validate_crc()
    assert (found.producer_id, found.producer_epoch, found.base_sequence) == (4711, 3, 99)


@pytest.mark.parametrize("codec", [compress.Codec.GZIP])
def test_a_compressed_batch_says_so(codec):
    """Catches an attribute that isn't the codec's; the integration tests read the other codecs."""
    [batch] = packed([(None, json.dumps({"n": number}).encode(), None, 0) for number in range(100)], codec=codec)
    assert [json.loads(one.value)["n"] for one in decoded(batch)] == list(range(100))


@hypothesis.settings(max_examples=60, deadline=None)
@hypothesis.given(st.lists(st.tuples(MAYBE, MAYBE, MAYBE), min_size=1, max_size=60))
def test_a_batch_is_the_one_that_the_clients_own_builder_makes(rows):
    """Catches any byte that another client would write otherwise. The leader's epoch is for the broker to fill in."""
    [mine] = packed([(*row, 0) for row in rows])
    theirs = default_records.DefaultRecordBatchBuilder(
        magic=2, compression_type=0, is_transactional=0, producer_id=-1, producer_epoch=-1, base_sequence=-1, batch_size=1 << 20
    )
    for offset, (key, value, header) in enumerate(rows):
        theirs.append(offset, 1_700_000_000_000, key, value, [("hé", header)])
    ours, expected = bytes(mine._build()), bytes(theirs.build())
    assert (ours[:12], ours[16:]) == (expected[:12], expected[16:])
