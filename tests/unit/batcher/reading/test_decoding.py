"""Runs that are cut, and the times by which their events are judged."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from penstock.batcher.reading import decoding
from penstock.core.records import layout
from penstock.log import port


def run(offset: int, span: int, offsets: list[int]) -> port.Record:
    rows = layout.run(offsets, [0] * len(offsets), [None] * len(offsets), [b"{}"] * len(offsets), [[]] * len(offsets))
    return port.Record(
        topic=port.EVENTS,
        partition=0,
        offset=offset,
        append_time_microseconds=0,
        value=b"",
        headers={},
        producer="",
        sequence=0,
        span=span,
        rows=rows,
    )


@given(st.lists(st.integers(1, 9), min_size=1, max_size=4), st.integers(-2, 40), st.data())
def test_runs_that_are_cut_hold_each_record_once_on_its_side(spans, offset, data):
    """Catches records that a person has told to skip and that land all the same, and neighbours that go with them."""
    records, start = [], 0
    for span in spans:
        held = sorted(data.draw(st.sets(st.integers(start, start + span - 1))))
        records.append(run(start, span, held))
        start += span
    below, rest = decoding.parted(records, offset)
    for part, wanted in ((below, lambda at: at < offset), (rest, lambda at: at >= offset)):
        found = [at for record in part for at in layout.integers(record.rows, layout.OFFSET).tolist()]
        assert found == [at for record in records for at in layout.integers(record.rows, layout.OFFSET).tolist() if wanted(at)]
    places = [place for record in (*below, *rest) for place in range(record.offset, record.end)]
    assert places == list(range(start))


@given(st.lists(st.integers(0, 5), max_size=12))
def test_events_are_judged_at_times_that_never_step_back(times):
    """Catches a table that is asked with the time of another event, or that refuses a broker's clock."""
    batch = pa.RecordBatch.from_pylist([{"id": "a"}] * len(times))
    found = decoding.Decoded(batch=batch, times=np.array(times, dtype=np.int64))
    told = [time for time, part in found.stretches(99) for _ in range(len(times))[part]]
    assert told == np.maximum.accumulate(times).tolist() if times else told == []
    assert list(decoding.Decoded(batch=batch).stretches(99)) == [(99, slice(None))]
