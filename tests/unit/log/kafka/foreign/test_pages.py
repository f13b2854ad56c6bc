"""What a broker answers, taken apart: transactions that were given up, markers, holes, damage."""

from __future__ import annotations

import pytest
from aiokafka import errors
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from penstock.core.records import layout
from penstock.log.kafka.foreign import pages

BASE_OFFSET = slice(0, 8)


def batch(first: int, values: list[bytes | None], *, producer: int = -1, transactional: bool = False) -> bytes:
    """One batch of records from offset `first` on, of this producer."""
    builder = DefaultRecordBatchBuilder(2, 0, int(transactional), producer, 0, 0, 1 << 20)
    for at, value in enumerate(values):
        builder.append(at, 1_700_000_000_000 + at, b"k", value, [("h", b"v")] if at % 2 else [])
    made = bytearray(builder.build())
    made[BASE_OFFSET] = first.to_bytes(8, "big")
    return bytes(made)


def read(*batches: bytes, start: int = 0, aborted: pages.Aborted | None = ()) -> pages.Page:
    return pages.read("t/0", b"".join(batches), start, aborted)


def offsets(page: pages.Page) -> list[int]:
    return page.rows.column(layout.OFFSET).to_pylist()


def test_records_come_with_all_they_have_from_the_place_that_was_asked_for():
    """A broker sends whole batches, the first from before. Catches a record that is read twice."""
    page = read(batch(5, [b"a", None, b"c"]), batch(20, [b"d"]), start=6)
    assert (offsets(page), page.end) == ([6, 7, 20], 21)
    assert page.rows.column(layout.VALUE).to_pylist() == [None, b"c", b"d"]
    assert [layout.unpacked(one) for one in page.rows.column(layout.HEADERS).to_pylist()] == [[("h", b"v")], [], []]


def test_records_of_transactions_that_were_given_up_are_left_out_and_passed():
    """Catches one producer's abort that takes another's records, and a page that ends before what it has left out."""
    mine, other = (batch(0, [b"a"] * 2, producer=1, transactional=True), batch(2, [b"b"] * 2, producer=2, transactional=True))
    last = batch(4, [b"c"] * 2, producer=1, transactional=True)
    page = read(mine, other, last, aborted=[(1, 0)])
    assert (offsets(page), page.end) == ([2, 3], 6)
    assert offsets(read(mine, other, last, aborted=[(1, 4)])) == [0, 1, 2, 3]
    assert offsets(read(mine, other, last, aborted=None)) == [0, 1, 2, 3, 4, 5]


def test_bytes_that_changed_on_their_way_are_told():
    """Catches a record that nobody wrote."""
    damaged = bytearray(batch(0, [b"abcdef"]))
    damaged[-8] ^= 1
    with pytest.raises(errors.CorruptRecordException, match="checksum"):
        read(bytes(damaged))


def test_an_answer_that_ends_within_a_batch_is_read_up_to_there():
    """Catches a fetch that fails because the bound cut its last batch."""
    page = read(batch(0, [b"a"]), batch(1, [b"b" * 100])[:-20])
    assert (offsets(page), page.end) == ([0], 1)
