"""What every store with an identity of its own promises, tried on each."""

import tempfile
from pathlib import Path

import hypothesis
import pytest
from hypothesis import strategies as st
from tests.unit.sinks import stores, writes

from penstock.core import addresses


@pytest.fixture(params=stores.STORES)
def store(request):
    return request.param


@pytest.fixture
def session(store, tmp_path):
    opened = stores.open_session(store, tmp_path)
    stores.prepare(store, opened)
    yield opened
    stores.close(store, opened)


def test_a_retry_lands_nothing_and_hears_what_has_landed(session):
    """Catches a store that writes a range twice, or that calls rows of an earlier write written now."""
    batch = writes.batch(writes.numbered(0, 4), writes.span(0, 4))
    assert session.write(batch).written == 4
    again = session.write(batch)
    assert (again.written, list(again.already_landed)) == (0, [writes.span(0, 4)])


def test_a_write_that_overlaps_lands_nothing_and_names_the_common_part(store, session, tmp_path):
    """Catches a store that skips what it knows and writes the rest: the batcher would count the skipped rows as new."""
    session.write(writes.batch(writes.numbered(2, 4), writes.span(2, 4)))
    answer = session.write(writes.batch(writes.numbered(0, 6), writes.span(0, 3), writes.span(3, 6)))
    assert (answer.written, list(answer.already_landed)) == (0, [writes.span(2, 4)])
    stores.close(store, session)
    assert stores.landed_ids(store, tmp_path) == [2, 3]


def test_another_session_knows_what_has_landed(store, tmp_path):
    """Catches ranges that are only in memory: after a restart every retry would land again."""
    batch = writes.batch(writes.numbered(0, 4), writes.span(0, 4))
    for expected in (4, 0, 0):
        session = stores.open_session(store, tmp_path)
        stores.prepare(store, session)
        assert session.write(batch).written == expected
        stores.close(store, session)
    assert stores.landed_ids(store, tmp_path) == [0, 1, 2, 3]


def test_another_log_partition_lane_or_table_is_another_range(store, session):
    """Catches a log that was recreated and starts again at offset 0, taken for what has landed."""
    rows = writes.numbered(0, 1)
    stores.prepare(store, session, "other")
    batches = [
        writes.batch(rows, writes.span(0, 1)),
        writes.batch(rows, writes.span(0, 1, log_id="recreated")),
        writes.batch(rows, writes.span(0, 1, partition=1)),
        writes.batch(rows, writes.span(0, 1), lane="other/clicks/warehouse"),
        writes.batch(rows, writes.span(0, 1), table="other"),
    ]
    assert [session.write(batch).written for batch in batches] == [1] * 5


def test_below_the_watermark_everything_has_landed(session):
    """Catches a zombie whose rows were filtered or dead-lettered by its successor, and a journal that keeps every gap."""
    session.write(writes.batch(writes.numbered(9, 10), writes.span(9, 10), finished_below=8))
    late = session.write(writes.batch(writes.numbered(3, 4), writes.span(3, 4)))
    assert list(late.already_landed) == [writes.span(3, 4)]
    assert session.write(writes.batch(writes.numbered(8, 9), writes.span(8, 9))).written == 1


def test_ranges_without_rows_are_remembered_too(session):
    """Catches a write of no rows that leaves no trace, or that fails."""
    batch = writes.batch(writes.numbered(0, 0), writes.span(0, 2))
    assert session.write(batch).already_landed == ()
    assert list(session.write(batch).already_landed) == [writes.span(0, 2)]


@pytest.mark.parametrize("kind", ["DuckDB", "Parquet"])
@hypothesis.settings(max_examples=5)
@hypothesis.given(st.lists(st.tuples(st.integers(0, 24), st.integers(1, 6), st.booleans()), max_size=12))
def test_whatever_overlaps_each_row_lands_once(kind, attempts):
    """Catches any way to land a row twice or to lose it, across restarts, when the sender trims what it hears of."""
    with tempfile.TemporaryDirectory() as name:
        root, session, sent = Path(name), None, set()
        for start, length, restart in attempts:
            if session is None:
                session = stores.open_session(kind, root)
                stores.prepare(kind, session)
            _land(session, [writes.span(start, start + length)])
            sent.update(range(start, start + length))
            if restart:
                stores.close(kind, session)
                session = None
        if session is not None:
            stores.close(kind, session)
        assert (stores.landed_ids(kind, root) if sent else []) == sorted(sent)


def _land(session, ranges):
    """What the batcher does: send, and on `already_landed` send what is left."""
    for wanted in ranges:
        answer = session.write(writes.batch(writes.numbered(wanted.start.offset, wanted.end.offset), wanted))
        if answer.already_landed:
            _land(session, addresses.subtract([wanted], answer.already_landed))
