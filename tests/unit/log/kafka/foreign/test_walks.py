"""Where records begin, found by many walks at once: what a single walk finds, or nothing."""

from __future__ import annotations

import tracemalloc
from unittest import mock

import hypothesis
import numpy as np
from hypothesis import strategies as st

from penstock.log.kafka.foreign import walks

JSON = st.integers(0, 10**60).map(lambda number: b'{"a":%d}' % number)
VALUES = JSON | JSON | st.binary(max_size=9) | st.sampled_from([b"", b"}\0" * 9, b"x" * 200, b"y" * 9_000])
BATCHES = st.lists(st.lists(VALUES, max_size=40), min_size=1, max_size=4)


def varint(number):
    """In zigzag form."""
    left, written = number << 1, b""
    while left > 127:
        written, left = written + bytes([left & 127 | 128]), left >> 7
    return written + bytes([left])


def record(value):
    body = b"\0\0\0\1" + varint(len(value)) + value + b"\0"
    return varint(len(body)) + body


def laid_out(batches):
    """The data with something between the batches, and the stretches, counts and beginnings that are right."""
    data, stretches, begins = bytearray(b"header"), [], []
    for values in batches:
        start = len(data)
        for value in values:
            begins.append(len(data))
            data += record(value)
        stretches.append([start, len(data)])
        data += b"header"
    return bytes(data), np.array(stretches, np.int64), np.array([len(values) for values in batches], np.int64), begins


def small():
    """As if walks paid in little data."""
    return mock.patch.multiple(walks, _BETWEEN_BYTES=40, _FEWEST=2)


@hypothesis.settings(max_examples=100, deadline=None)
@hypothesis.given(BATCHES)
def test_what_is_found_is_what_there_is(batches):
    """Catches a guess that is taken at its word, a step over a length of two bytes that is wrong, and an order that changes."""
    data, stretches, counts, begins = laid_out(batches)
    with small():
        found = walks.begins(data, stretches, counts)
    assert found is None or found.tolist() == begins


@hypothesis.settings(max_examples=100, deadline=None)
@hypothesis.given(BATCHES, st.data())
def test_lengths_and_counts_that_do_not_agree_give_nothing(batches, data):
    """Catches records that are left out, or taken from the batch behind."""
    content, stretches, counts, begins = laid_out(batches)
    wrong = counts.copy()
    wrong[data.draw(st.integers(0, len(counts) - 1))] += data.draw(st.sampled_from([-1, 1, 1 << 31, -1 << 31]))
    with small():
        assert walks.begins(content, stretches, wrong) is None
        for place in data.draw(st.lists(st.sampled_from(begins), max_size=2)) if begins else ():
            content = content[:place] + bytes([content[place] ^ 2]) + content[place + 1 :]
        found = walks.begins(content, stretches, counts)
    assert found is None or len(found) == counts.sum()


def test_many_documents_are_found_at_once():
    """Catches a shortcut that is never taken."""
    texts = [b'{"a":"%s","n":%d}' % (b"x" * (100 + number % 50), number) for number in range(6_000)]
    for batches in ([texts], [texts[at : at + 60] for at in range(0, 6_000, 60)]):
        data, stretches, counts, begins = laid_out(batches)
        found = walks.begins(data, stretches, counts)
        assert found is not None
        assert found.tolist() == begins


def test_a_wrong_guess_gives_nothing():
    """A document may hold what documents end with. Catches a walk from within one."""
    data, stretches, counts, _ = laid_out([[b"{" + b"}\0" * 150 + b"}"] * 3_000])
    assert walks.begins(data, stretches, counts) is None


def test_records_without_a_length_end_it_soon():
    """Whoever signs them may say there are any number. Catches walks that go on for as many steps as there are bytes."""
    data, stretches, _, _ = laid_out([[b"{}" * 150] * 2_500])
    endless = np.array([*stretches, [len(data), len(data) + (1 << 20)]], np.int64)
    tracemalloc.start()
    try:
        assert walks.begins(data + bytes((1 << 20) - 2) + b"\xff\xff", endless, np.array([2_500, 1 << 31])) is None
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()
